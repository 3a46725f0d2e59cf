#!/bin/sh
# The external node: addresses of its namespace, and BIRD in it. Other words go to birdc.
set -eu
dir=$FELLOE_LAB_DIR
case $1 in
start)
  ip addr replace 192.0.2.2/24 dev "$FELLOE_NIC_1"
  ip addr replace 203.0.113.1/32 dev lo
  cat >"$dir/bird.conf" <<CONF
log "$dir/bird.log" all;
router id 203.0.113.1;
protocol device {}
protocol direct { ipv4; interface "lo"; }
protocol kernel { ipv4 { import none; export filter { if source = RTS_BGP then { krt_prefsrc = 203.0.113.1; accept; } reject; }; }; }
protocol bgp Router {
  local 192.0.2.2 as 65002;
  neighbor 192.0.2.1 as 65001;
  hold time 9;
  connect delay time 1;
  connect retry time 3;
  ipv4 { import all; export where source = RTS_DEVICE; };
}
CONF
  setsid bird -f -c "$dir/bird.conf" -s "$dir/bird.ctl" >"$dir/daemon.log" 2>&1 </dev/null &
  ;;
ready) birdc -r -s "$dir/bird.ctl" show status ;;
stop) birdc -s "$dir/bird.ctl" down ;;
*) exec birdc -r -s "$dir/bird.ctl" "$@" ;;
esac
