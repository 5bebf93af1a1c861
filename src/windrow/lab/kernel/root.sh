#!/bin/busybox sh
# Process 1 of a QEMU lab until it has the host's files, read-only, as its root; then whatever the kernel's command line
# names after `--`. The kernel hands those words over (init/main.c, set_init_arg).

for place in /proc /root; do /bin/busybox mkdir -p "$place"; done
/bin/busybox mount -t proc proc /proc
while read -r module; do
    /bin/busybox insmod "/modules/$module.ko" || echo "module $module does not load"
done </modules/order
# msize: what one request carries; the rest is as in Documentation/filesystems/9p.rst. cache=loose: files are not looked
# at again while the lab runs, and nobody else writes what the lab reads.
/bin/busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose root /root ||
    echo "the host's files cannot be mounted"
/bin/busybox mount -t devtmpfs dev /root/dev
/bin/busybox umount /proc
exec /bin/busybox switch_root /root "$@"
