"""Runs as ONNX files with a model card."""
