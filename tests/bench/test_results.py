"""The page of results says what the rows say."""

from tests.bench.results_page import PAGE, page


def test_page_of_results_is_generated_from_the_rows():
    assert PAGE.read_text() == page(), "just results"
