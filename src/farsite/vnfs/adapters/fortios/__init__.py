"""FortiOS over its REST API; see `product`."""
