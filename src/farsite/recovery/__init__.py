"""Disaster recovery. Protection, plans, drill, failover and failback will live here; nothing does yet."""
