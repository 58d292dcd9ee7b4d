"""Benchmarks: `just bench [NAME ...]`. Each appends one line per row to results/<name>.jsonl, which is committed."""
