"""Why a model answered as it did: maps of importance, and whether they lie on the face."""
