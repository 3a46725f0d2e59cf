package afpacket

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"felloe/netstack/link/vnet"
	"felloe/netstack/packet"

	"golang.org/x/sys/unix"
)

const (
	// blockSize holds the largest super-frame, with room for its header.
	blockSize = 128 << 10
	// retireMs is after how many milliseconds the kernel hands over a block that is not full.
	retireMs = 1
	// quietBlock is with how few frames a block of a timer's period says that there is little traffic.
	quietBlock   = 256
	defaultBytes = 2 << 20
	// copyBytes is how much may wait on the socket's queue: super-frames, in a ring of frames.
	copyBytes = 4 << 20
	// sllPktType is the place of the packet type in struct sockaddr_ll.
	sllPktType = 10
	// largest is the largest super-frame, with its Ethernet header.
	largest = 65536 + 64
)

// ring is one receive socket with its ring in shared memory. fill belongs to one goroutine.
type ring struct {
	d     *driver
	fd    int
	mem   []byte
	kind  Ring
	size  int // of a block or a frame slot
	count int
	next  int
	vnet  bool

	// Blocks: what is left of the current block, and whether one was handed over by the timer with little in it.
	left, at uint32
	quiet    bool
	// Frames: whether the kernel found no free slot.
	losing bool
	// Frames: where a frame that did not fit its slot is read into.
	large []byte

	statsMu sync.Mutex
	closed  bool
}

func newRing(d *driver, kind Ring, bytes int) (*ring, error) {
	// Protocol 0: nothing is received before bind.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket (CAP_NET_RAW is needed): %w", err)
	}
	r := &ring{d: d, fd: fd, kind: kind}
	if err := r.setup(bytes); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *ring) setup(bytes int) error {
	version := unix.TPACKET_V3
	if r.kind == Frames {
		version = unix.TPACKET_V2
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, version); err != nil {
		return fmt.Errorf("TPACKET version %d: %w", version, err)
	}
	// What this router sends must not come back. Kernels before 4.20 do not know this; the packet type tells then.
	_ = unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	// Before the ring: a ring fixes it. Without it unfinished checksums are found by the frame's status.
	r.vnet = unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1) == nil
	blocks := max(2, bytes/blockSize)
	if r.kind == Blocks {
		r.size, r.count = blockSize, blocks
		req := unix.TpacketReq3{
			Block_size: blockSize, Block_nr: uint32(blocks),
			Frame_size: blockSize, Frame_nr: uint32(blocks), Retire_blk_tov: retireMs,
		}
		if err := unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
			return fmt.Errorf("receive ring of %d bytes: %w", blocks*blockSize, err)
		}
	} else {
		r.size = 2048
		for r.size < r.d.info.MTU+256 {
			r.size *= 2
		}
		block := max(r.size, blockSize)
		r.count, r.large = blocks*blockSize/block*(block/r.size), make([]byte, largest)
		// Frames that do not fit their slot are queued on the socket as well.
		if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_COPY_THRESH, 1); err != nil {
			return fmt.Errorf("copy threshold: %w", err)
		}
		if unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, copyBytes) != nil {
			_ = unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, copyBytes)
		}
		req := unix.TpacketReq{
			Block_size: uint32(block), Block_nr: uint32(r.count / (block / r.size)),
			Frame_size: uint32(r.size), Frame_nr: uint32(r.count),
		}
		if err := unix.SetsockoptTpacketReq(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
			return fmt.Errorf("receive ring of %d frames: %w", r.count, err)
		}
	}
	var err error
	if r.mem, err = unix.Mmap(r.fd, 0, r.size*r.count, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("map the receive ring: %w", err)
	}
	return nil
}

// bind begins reception.
func (r *ring) bind(index int) error {
	if err := unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: index}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	// The router speaks to multicast groups (ND, NHRP's and routing's), whichever; the NIC need not choose.
	mreq := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_ALLMULTI}
	if err := unix.SetsockoptPacketMreq(r.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq); err != nil {
		return fmt.Errorf("all multicast: %w", err)
	}
	return nil
}

// deaf makes the socket receive nothing, or again everything.
func (r *ring) deaf(on bool) error {
	if !on {
		if err := unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil {
			return fmt.Errorf("detach filter: %w", err)
		}
		return nil
	}
	nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	if err := unix.SetsockoptSockFprog(r.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: 1, Filter: &nothing[0]}); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	return nil
}

// fill appends received packets to v, about a vector of them, and returns nothing when there are none now.
func (r *ring) fill(v []*packet.Packet) []*packet.Packet {
	if r.kind == Frames {
		return r.fillFrames(v)
	}
	for len(v) < vector {
		if r.left == 0 {
			b := r.block()
			status := atomic.LoadUint32(&b.Hdr.Block_status)
			if status&unix.TP_STATUS_USER == 0 {
				return v
			}
			if r.left, r.at = b.Hdr.Num_pkts, b.Hdr.Offset_to_first_pkt; status&unix.TP_STATUS_BLK_TMO != 0 && r.left < quietBlock {
				r.quiet = true
			}
			if r.left == 0 {
				r.release(b)
				continue
			}
		}
		block := r.mem[r.next*r.size : (r.next+1)*r.size]
		if int(r.at)+unix.SizeofTpacket3Hdr > len(block) {
			r.left = 0
			r.release(r.block())
			continue
		}
		h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&block[r.at]))
		v = r.take(v, block[r.at:], received{
			mac: int(h.Mac), caught: int(h.Snaplen), length: int(h.Len), sll: unix.SizeofTpacket3Hdr,
			status: h.Status, tci: uint16(h.Hv1.Vlan_tci), tpid: h.Hv1.Vlan_tpid,
		})
		r.at += h.Next_offset
		if r.left--; r.left == 0 {
			r.release(r.block())
		}
	}
	return v
}

func (r *ring) block() *tpacketBlock {
	return (*tpacketBlock)(unsafe.Pointer(&r.mem[r.next*r.size]))
}

// tpacketBlock is struct tpacket_block_desc with its union as the only member that it has.
type tpacketBlock struct {
	Version        uint32
	Offset_to_priv uint32
	Hdr            unix.TpacketHdrV1
}

func (r *ring) release(b *tpacketBlock) {
	atomic.StoreUint32(&b.Hdr.Num_pkts, 0) // for pending: the kernel clears it only when it opens the block again
	atomic.StoreUint32(&b.Hdr.Block_status, unix.TP_STATUS_KERNEL)
	r.next = (r.next + 1) % r.count
}

func (r *ring) fillFrames(v []*packet.Packet) []*packet.Packet {
	for len(v) < vector {
		slot := r.mem[r.next*r.size : (r.next+1)*r.size]
		h := (*unix.Tpacket2Hdr)(unsafe.Pointer(&slot[0]))
		status := atomic.LoadUint32(&h.Status)
		if status&unix.TP_STATUS_USER == 0 {
			return v
		}
		r.losing = r.losing || status&unix.TP_STATUS_LOSING != 0
		f := received{
			mac: int(h.Mac), caught: int(h.Snaplen), length: int(h.Len), sll: unix.SizeofTpacket2Hdr,
			status: status, tci: h.Vlan_tci, tpid: h.Vlan_tpid,
		}
		if status&unix.TP_STATUS_COPY != 0 {
			v = r.takeLarge(v, f)
		} else {
			v = r.take(v, slot, f)
		}
		atomic.StoreUint32(&h.Status, unix.TP_STATUS_KERNEL)
		r.next = (r.next + 1) % r.count
	}
	return v
}

// pending tells whether the kernel is filling a block (Blocks).
func (r *ring) pending() bool { return r.left > 0 || atomic.LoadUint32(&r.block().Hdr.Num_pkts) > 0 }

// received is what the kernel says of a frame, whatever the ring's layout.
type received struct {
	mac, caught, length, sll int
	status                   uint32
	tci, tpid                uint16
}

// take appends the packets of the frame whose kernel header is at the front of b.
func (r *ring) take(v []*packet.Packet, b []byte, f received) []*packet.Packet {
	end := f.mac + f.caught
	if f.caught < f.length || f.mac < f.sll+unix.SizeofSockaddrLinklayer+vnet.Len || end > len(b) {
		r.d.rxDrops.Add(1) // cut off: larger than a slot
		return v
	}
	if b[f.sll+sllPktType] == unix.PACKET_OUTGOING {
		return v
	}
	var h vnet.Header
	if r.vnet {
		h = vnet.Decode(b[f.mac-vnet.Len:])
	}
	return r.deliver(v, b[f.mac:end:end], h, f)
}

// takeLarge appends the packets of a frame that did not fit its slot and waits on the socket's queue.
func (r *ring) takeLarge(v []*packet.Packet, f received) []*packet.Packet {
	n, from, err := unix.Recvfrom(r.fd, r.large, unix.MSG_DONTWAIT)
	b, h := r.large[:max(n, 0)], vnet.Header{}
	if err == nil && r.vnet && n >= vnet.Len {
		h, b = vnet.Decode(b), b[vnet.Len:]
	}
	if err != nil || len(b) != f.length {
		r.d.rxDrops.Add(1)
		return v
	}
	if sll, ok := from.(*unix.SockaddrLinklayer); ok && sll.Pkttype == unix.PACKET_OUTGOING {
		return v
	}
	return r.deliver(v, b, h, f)
}

func (r *ring) deliver(v []*packet.Packet, frame []byte, h vnet.Header, f received) []*packet.Packet {
	if !r.vnet && f.status&unix.TP_STATUS_CSUMNOTREADY != 0 {
		vnet.FinishChecksum(frame)
	}
	first := len(v)
	v, err := h.Packets(frame, v)
	if err != nil {
		r.d.rxDrops.Add(1)
		return v
	}
	if f.status&unix.TP_STATUS_VLAN_VALID != 0 {
		for _, p := range v[first:] {
			tag(p, f)
		}
	}
	return v
}

// tag puts the VLAN tag back that the kernel took out of the frame.
func tag(p *packet.Packet, f received) {
	if p.Len() < 12 {
		return
	}
	tpid := uint16(unix.ETH_P_8021Q)
	if f.status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		tpid = f.tpid
	}
	p.Prepend(4)
	b := p.Bytes()
	copy(b, b[4:16])
	binary.BigEndian.PutUint16(b[12:], tpid)
	binary.BigEndian.PutUint16(b[14:], f.tci)
}

// kernelDrops is how many frames found the ring full since the last call.
func (r *ring) kernelDrops() uint64 {
	r.statsMu.Lock()
	defer r.statsMu.Unlock()
	if r.closed {
		return 0
	}
	if r.kind == Blocks {
		if s, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			return uint64(s.Drops)
		}
	} else if s, err := unix.GetsockoptTpacketStats(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		return uint64(s.Drops)
	}
	return 0
}

func (r *ring) close() {
	r.statsMu.Lock()
	defer r.statsMu.Unlock()
	r.closed = true
	if r.mem != nil {
		_ = unix.Munmap(r.mem)
	}
	unix.Close(r.fd)
}

func networkOrder(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
