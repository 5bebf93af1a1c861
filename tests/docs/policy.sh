# The first manifest of the page, where its reader is.
mkdir -p /run/policy
awk '/^```yaml$/ { on = 1; next } /^```$/ { if (on) exit } on' docs/user/policy.md >/run/policy/db.yaml
cd /run/policy
