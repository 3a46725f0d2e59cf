#!/bin/sh
# A strongSwan client as nodes of the lab: start, ready, stop, swanctl, address, log. It asks for a virtual address and offers
# all that is behind the hub; it knows nothing of GRE or NHRP. Everything runs without a network beside the lab's.
set -e
dir=$FELLOE_LAB_DIR
number=${FELLOE_NODE#Client}
control() { STRONGSWAN_CONF=$dir/swanctl.conf SWANCTL_DIR=$dir/swanctl swanctl "$@" --uri "unix://$dir/vici"; }

strongswan() {
  mkdir -p "$dir/swanctl"
  cat >"$dir/strongswan.conf" <<CONF
charon {
  load = random nonce aes sha1 sha2 hmac kdf pem openssl gmp curve25519 kernel-libipsec kernel-netlink socket-default resolve vici updown counters
  retransmit_timeout = 1.0
  retransmit_tries = 3
  retry_initiate_interval = 2
  plugins {
    vici { socket = unix://$dir/vici }
    kernel-libipsec { allow_peer_ts = yes }
    resolve { file = $dir/resolv.conf
      resolvconf { path = /nonexistent } }
  }
  filelog { f { path = $dir/charon.log
      default = 1
      cfg = 2
      knl = 1
      flush_line = yes } }
}
CONF
  echo 'swanctl { load = pem pkcs1 pkcs8 x509 pubkey random nonce openssl }' >"$dir/swanctl.conf"
  cat >"$dir/swanctl/swanctl.conf" <<CONF
connections { hub {
  version = 2
  local_addrs = 10.0.0.20$number
  remote_addrs = 10.0.0.100
  vips = 0.0.0.0
  proposals = aes256-sha256-modp2048,aes256gcm16-prfsha256-ecp256
  encap = yes
  keyingtries = 0
  dpd_delay = 10s
  local { auth = psk
    id = 10.0.0.20$number }
  remote { auth = psk
    id = 10.0.0.100 }
  children { all {
    remote_ts = 192.168.0.0/16,172.16.0.0/24,172.16.1.1/32
    esp_proposals = aes256-sha256,aes256gcm16
    start_action = start
    close_action = none
    dpd_action = restart } } } }
secrets { ike-hub { id = 10.0.0.100
  secret = "ciscociscocisco123" } }
CONF
  STRONGSWAN_CONF=$dir/strongswan.conf setsid charon-systemd >"$dir/daemon.log" 2>&1 </dev/null &
  for _ in $(seq 100); do [ ! -S "$dir/vici" ] || break; sleep 0.1; done
}

case $1 in
start)
  ip addr replace 10.0.0.20$number/24 dev wan
  sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
  strongswan
  control --load-all
  ;;
ready) control --stats ;;
stop) control --terminate --ike hub --timeout 2 ;;
swanctl) shift; control "$@" ;;
address) ip -4 -o addr show | grep -o '172\.16\.0\.[0-9]*' | head -1 ;;
log) cat "$dir/charon.log" ;;
esac
