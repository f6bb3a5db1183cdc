"""Our own API, `/farsite/v1`: everything an operator works with, with names accepted wherever ids are."""
