"""Real OpenStack sites on one machine: Keystone, Nova, Placement, Neutron, Glance, Heat and Cinder.

Only what a site would do to packets and disks is missing: Nova's virt driver and Cinder's backend are fakes,
Neutron has no agents. Everything that an orchestrator talks to is the real thing.
"""
