#!/bin/sh
# The client of the secure overlay: strongSwan with ESP in user space, and BIRD. Other words are for its control programs:
#
#	client.sh swanctl --list-sas | client.sh birdc show route | client.sh log
#
# The lab's [set] chooses: raw (ESP as IP protocol 50, from Debian trixie's strongSwan, instead of ESP in UDP), the group
# of its children, and times.
set -eu
dir=$FELLOE_LAB_DIR
raw=${LAB_RAW:-no}
root=$FELLOE_CACHE/strongswan-trixie

address=10.122.144.146 server=166.34.121.112

control() {
  STRONGSWAN_CONF=$dir/swanctl.conf SWANCTL_DIR=$dir/swanctl exec swanctl "$@" --uri "unix://$dir/vici"
}

# Debian bookworm's user-space ESP knows UDP encapsulation only; trixie's runs from a folder of its own.
prepare() {
  [ "$raw" = yes ] || return 0
  exec 9>"$root.lock"
  flock 9
  [ ! -e "$root/.complete" ] || return 0
  rm -rf --one-file-system "$root"
  mmdebstrap --quiet --mode=root --variant=minbase --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --include=charon-systemd,libcharon-extra-plugins,libstrongswan-standard-plugins,libstrongswan-extra-plugins trixie "$root"
  touch "$root/.complete"
}

addresses() {
  ip addr replace 10.88.247.89/27 dev wan
  ip addr replace $address/32 dev lo
  ip addr replace 192.168.1.1/24 dev lo # the management LAN, which is no part of the overlay
  sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
}

strongswan() {
  mkdir -p "$dir/swanctl"
  in=$dir; [ "$raw" = no ] || in=/mnt # how the daemon sees $dir
  # kernel-libipsec's route for 0.0.0.0/0 goes into a table that only packets with this mark would use: which routes lead
  # into the tunnel is decided below, and by BIRD.
  cat >"$dir/strongswan.conf" <<CONF
charon {
  load = random nonce aes sha1 sha2 hmac kdf pem openssl gmp curve25519 kernel-libipsec kernel-netlink socket-default vici updown counters
  retransmit_timeout = 1.0
  retransmit_tries = 3
  retry_initiate_interval = 2
  plugins {
    vici { socket = unix://$in/vici }
    kernel-libipsec { allow_peer_ts = yes
      raw_esp = $raw }
    kernel-netlink { fwmark = 0x99 }
  }
  filelog { f { path = $in/charon.log
      default = 1
      cfg = 2
      knl = 1
      flush_line = yes } }
}
CONF
  echo 'swanctl { load = pem pkcs1 pkcs8 x509 pubkey random nonce openssl }' >"$dir/swanctl.conf"
  encap=yes; [ "$raw" = no ] || encap=no
  cat >"$dir/swanctl/swanctl.conf" <<CONF
connections { overlay {
  version = 2
  local_addrs = 10.88.247.89
  remote_addrs = 10.88.247.84
  proposals = aes256-sha512-modp4096
  encap = $encap
  keyingtries = 0
  dpd_delay = ${LAB_CLIENT_DPD:-30s}
  rekey_time = ${LAB_CLIENT_IKE_REKEY:-24h}
  local { auth = psk
    id = 10.88.247.89 }
  remote { auth = psk
    id = 10.88.247.84 }
  children { overlay {
    local_ts = 10.122.144.128/27
    remote_ts = 0.0.0.0/0
    esp_proposals = aes256-sha512-${LAB_CLIENT_GROUP:-modp4096}
    rekey_time = ${LAB_CLIENT_REKEY:-8h}
    life_time = 9h
    rand_time = 0
    start_action = start
    close_action = start
    dpd_action = restart } } } }
secrets { ike-server { id = 10.88.247.84
  secret = "ciscociscocisco123" } }
CONF
  if [ "$raw" = yes ]; then # the mounts are this process's own
    setsid sh -ec 'mount --bind "$2" "$1/mnt"; mount --bind /dev "$1/dev"; mount -t proc proc "$1/proc"; mount -t tmpfs run "$1/run"
      exec chroot "$1" env STRONGSWAN_CONF=/mnt/strongswan.conf charon-systemd' sh "$root" "$dir" >"$dir/daemon.log" 2>&1 </dev/null &
  else
    STRONGSWAN_CONF=$dir/strongswan.conf setsid charon-systemd >"$dir/daemon.log" 2>&1 </dev/null &
  fi
  for _ in $(seq 100); do [ ! -S "$dir/vici" ] || break; sleep 0.1; done
  ip route replace $server/32 dev ipsec0 src $address
}

bird() {
  cat >"$dir/bird.conf" <<CONF
log "$dir/bird.log" all;
router id $address;
protocol device {}
protocol static { ipv4; route $server/32 via "ipsec0"; }
protocol kernel { ipv4 { import none; export filter { if source != RTS_BGP then reject; krt_prefsrc = $address; accept; }; }; }
protocol bgp server {
  local $address as 200;
  neighbor $server as 65000;
  multihop 10;
  source address $address;
  hold time 240;
  keepalive time 80;
  connect delay time 1;
  connect retry time 5;
  ipv4 { import all; import limit 15 action restart; export none; gateway recursive; };
}
CONF
  setsid env bird -f -c "$dir/bird.conf" -s "$dir/bird.ctl" >"$dir/bird-daemon.log" 2>&1 </dev/null &
}

case $1 in
prepare) prepare ;;
start)
  addresses
  strongswan
  bird
  control --load-all
  ;;
ready) control --stats && birdc -r -s "$dir/bird.ctl" show status ;;
stop)
  birdc -s "$dir/bird.ctl" down || true
  control --terminate --ike overlay --timeout 2
  ;;
swanctl) shift; control "$@" ;;
birdc) shift; exec birdc -r -s "$dir/bird.ctl" "$@" ;;
log) cat "$dir/charon.log" ;;
esac
