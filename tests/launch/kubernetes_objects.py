"""Objects as a Kubernetes API server writes them, as far as anybody here reads them."""


def node(name="a", gpus=8, product="NVIDIA-H100-80GB-HBM3", taints=(), ready="True", cordoned=False, **labels):
    product_label = {"nvidia.com/gpu.product": product} if product else {}
    amounts = {"cpu": "192", "memory": "2Ti"} | ({"nvidia.com/gpu": str(gpus)} if gpus else {})
    return {
        "metadata": {
            "name": name,
            "labels": product_label | {key.replace("__", "/").replace("_", "."): value for key, value in labels.items()},
        },
        "spec": {"taints": [dict(taint) for taint in taints]} | ({"unschedulable": True} if cordoned else {}),
        "status": {
            "allocatable": amounts,
            "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}],
        },
    }


def pod(node="a", gpus=8, phase="Running", first_gpus=0):
    def limited(amount):
        return {"resources": {"limits": {"nvidia.com/gpu": str(amount)}}} if amount else {"resources": {}}

    first = {"initContainers": [limited(first_gpus)]} if first_gpus else {}
    return {"spec": {"containers": [limited(gpus), limited(0)], **first} | ({"nodeName": node} if node else {}), "status": {"phase": phase}}


DEDICATED = {"key": "dedicated", "value": "training", "effect": "NoSchedule"}
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
