"""The parts of `src.data.drawn`: what varies from face to face, and how each part of a face is drawn."""
