"""Runs some inferences of a network on one thread and prints the first outputs: infer.py ENGINE FILE SIZE COUNT

ENGINE is onnxruntime (FILE is .onnx), edgecnn (.ecnn), or edgecnn:ALGORITHM, which convolutions then use where it can."""

import sys

import numpy as np


def edgecnn(file: str, algorithm: str, x: np.ndarray):
    import edgecnn as ec

    ec.set_num_threads(1)
    model = ec.load(file)
    plan = model.plan({next(iter(model.inputs)): x.shape}, {"convolution": algorithm} if algorithm else None)
    return lambda: plan.run(x)[0]


def onnxruntime(file: str, x: np.ndarray):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {session.get_inputs()[0].name: x})[0]


def main() -> None:
    engine, file, size, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    name, _, algorithm = engine.partition(":")
    x = np.sin(np.arange(3 * size * size, dtype=np.float32)).reshape(1, 3, size, size)
    run = onnxruntime(file, x) if name == "onnxruntime" else edgecnn(file, algorithm, x)
    for _ in range(count):
        y = run()
    print(*y.ravel()[:100].tolist())


if __name__ == "__main__":
    main()
