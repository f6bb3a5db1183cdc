"""F5 BIG-IP over AS3; see `product`."""
