"""VyOS over its HTTPS API; see `product`."""
