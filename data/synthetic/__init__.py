"""The stand-in data set: dermatoscopic lesions, drawn."""
