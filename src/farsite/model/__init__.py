"""What exists: the nouns of the field as frozen dataclasses. This package knows nobody."""
