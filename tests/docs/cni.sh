# Directories of plugins that nobody else sees.
mount -t tmpfs plugins /opt
mkdir -p /opt/cni/bin
