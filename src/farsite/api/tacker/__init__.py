"""The VIM API of OpenStack Tacker at /v1.0, for its standard client."""
