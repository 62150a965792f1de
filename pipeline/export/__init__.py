"""A finished run as one ONNX file, from pixels to calibrated probabilities, with its model card."""
