"""Training losses: pure functions on tensors, one module a part of the paper's objective.

`distillation` is stage 1; `reconstruction` (camera, depth, point map, metric depth) and
`vision_language` (boxes and their match) are stage 2. The cross-entropy of answers is computed by
the model, which alone sees the labelled positions.

Every loss is finite and has a zero gradient where there is nothing to learn from: no valid pixel,
no target. None reads a value back from the device but for the matching of boxes. Non-finite
predictions are not hidden: they make the loss non-finite.
"""
