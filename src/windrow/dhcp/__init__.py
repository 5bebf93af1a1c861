"""Address pools with all that is decided about them -> what a DHCP server is told: dnsmasq, Kea, ISC dhcpd.

Pure: texts in, texts out of nowhere else. Who has which address is decided before (`compile.pools`).
"""
