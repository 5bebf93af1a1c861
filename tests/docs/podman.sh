# podman with its CNI back end and one image, in places of its own, and the network of the page.
source tests/docs/cni.sh
windrow cni install --bin-dir /opt/cni/bin >/dev/null
mount -t tmpfs none /var/lib
mount -t tmpfs none /var/cache
mkdir -p /var/lib/cni "$WINDROW_ROOT/etc/cni/net.d" /run/podman/root/bin
mount -t cgroup2 none /sys/fs/cgroup
cat >"$WINDROW_ROOT/etc/cni/net.d/20-vlan100.conflist" <<'END'
{"cniVersion": "1.0.0", "name": "vlan100",
 "plugins": [{"type": "windrow-bridge", "bridge": "oob-br", "vlan": 100, "capabilities": {"mac": true}}]}
END
for name in containers storage; do
  sed "s|{at}|/run/podman|; s|{bin}|/opt/cni/bin|; s|{plugins}|/usr/lib/cni|; s|{networks}|$WINDROW_ROOT/etc/cni/net.d|" \
    "tests/podman/$name.conf" >"/run/podman/$name.conf"
done
export CONTAINERS_CONF=/run/podman/containers.conf CONTAINERS_STORAGE_CONF=/run/podman/storage.conf
export HOME=/run/podman XDG_RUNTIME_DIR=/run/podman TMPDIR=/run/podman
cp /bin/busybox /run/podman/root/bin
for program in ip sh; do ln -s busybox "/run/podman/root/bin/$program"; done
tar -C /run/podman/root -c . | podman import -q - busybox >/dev/null
