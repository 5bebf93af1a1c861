# Switches of others, which tell more, or less, than those of the lab do.
windrow apply >/dev/null
for switch in leaf1 leaf2 access; do
    ip netns exec $switch python tests/docs/tell.py $switch >/dev/null 2>&1 &
done
