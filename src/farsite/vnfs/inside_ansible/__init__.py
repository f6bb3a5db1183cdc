"""What Ansible's own interpreter loads. Nothing of ours imports it: Ansible is a program of the host, and
none of our dependencies."""
