"""OpenStack: deployments as Heat stacks in the project that the registration names."""
