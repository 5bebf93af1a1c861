"""The CNI plugins: `windrow-bridge` and the meta plugin `windrow`, and the server that answers for them."""
