"""Synthetic faces: happy and sad, drawn by the program from independent factors, the same on every machine."""
