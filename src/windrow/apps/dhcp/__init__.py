"""The DHCP servers of this node's address pools, and who keeps them."""
