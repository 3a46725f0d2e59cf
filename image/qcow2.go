package image

import (
	"bytes"
	"encoding/binary"
	"io"
)

// Constants of a version 3 image with 64 KiB clusters and 16-bit reference counts.
const (
	qcowClusterBits = 16
	qcowCluster     = 1 << qcowClusterBits
	qcowL2Entries   = qcowCluster / 8
	qcowRefEntries  = qcowCluster / 2
	qcowCopied      = 1 << 63 // the cluster belongs to this table entry alone
	qcowHeaderLen   = 104
)

// writeQcow2 writes what r holds as a qcow2 image; clusters of zeros are left out.
//
//	header | refcount table | refcount blocks | L1 | L2 tables | data
func writeQcow2(w io.WriterAt, r io.ReaderAt, size int64) error {
	clusters := (size + qcowCluster - 1) / qcowCluster
	used, err := usedClusters(r, size, clusters)
	if err != nil {
		return err
	}
	data := int64(0)
	for _, u := range used {
		if u {
			data++
		}
	}
	l2Count := (clusters + qcowL2Entries - 1) / qcowL2Entries
	l1Clusters := (l2Count*8 + qcowCluster - 1) / qcowCluster
	// The blocks count themselves too: grow until they are enough.
	refBlocks := int64(1)
	for 1+1+refBlocks+l1Clusters+l2Count+data > refBlocks*qcowRefEntries {
		refBlocks++
	}
	refTableAt := int64(1)
	refBlocksAt := refTableAt + 1
	l1At := refBlocksAt + refBlocks
	l2At := l1At + l1Clusters
	dataAt := l2At + l2Count
	total := dataAt + data

	be := binary.BigEndian
	header := make([]byte, qcowHeaderLen)
	copy(header, "QFI\xfb")
	be.PutUint32(header[4:], 3)
	be.PutUint32(header[20:], qcowClusterBits)
	be.PutUint64(header[24:], uint64(size))
	be.PutUint32(header[36:], uint32(l2Count)) // L1 entries
	be.PutUint64(header[40:], uint64(l1At*qcowCluster))
	be.PutUint64(header[48:], uint64(refTableAt*qcowCluster))
	be.PutUint32(header[56:], 1) // clusters of the refcount table
	be.PutUint32(header[96:], 4) // 1<<4 bits a count
	be.PutUint32(header[100:], qcowHeaderLen)
	if err := writeCluster(w, 0, header); err != nil {
		return err
	}

	refTable := make([]byte, qcowCluster)
	for i := range refBlocks {
		be.PutUint64(refTable[8*i:], uint64((refBlocksAt+i)*qcowCluster))
	}
	if err := writeCluster(w, refTableAt, refTable); err != nil {
		return err
	}
	counts := make([]byte, refBlocks*qcowCluster)
	for i := range total {
		be.PutUint16(counts[2*i:], 1)
	}
	if err := writeCluster(w, refBlocksAt, counts); err != nil {
		return err
	}

	l1 := make([]byte, l1Clusters*qcowCluster)
	for i := range l2Count {
		be.PutUint64(l1[8*i:], uint64((l2At+i)*qcowCluster)|qcowCopied)
	}
	if err := writeCluster(w, l1At, l1); err != nil {
		return err
	}
	l2 := make([]byte, l2Count*qcowCluster)
	buf := make([]byte, qcowCluster)
	at := dataAt
	for i, u := range used {
		if !u {
			continue
		}
		be.PutUint64(l2[8*i:], uint64(at*qcowCluster)|qcowCopied)
		if err := readCluster(r, size, int64(i), buf); err != nil {
			return err
		}
		if err := writeCluster(w, at, buf); err != nil {
			return err
		}
		at++
	}
	return writeCluster(w, l2At, l2)
}

// usedClusters tells which clusters hold anything but zeros.
func usedClusters(r io.ReaderAt, size, clusters int64) ([]bool, error) {
	used := make([]bool, clusters)
	buf, zero := make([]byte, qcowCluster), make([]byte, qcowCluster)
	for i := range clusters {
		if err := readCluster(r, size, i, buf); err != nil {
			return nil, err
		}
		used[i] = !bytes.Equal(buf, zero)
	}
	return used, nil
}

func readCluster(r io.ReaderAt, size, i int64, buf []byte) error {
	n := min(qcowCluster, size-i*qcowCluster)
	clear(buf)
	_, err := r.ReadAt(buf[:n], i*qcowCluster)
	if err == io.EOF {
		err = nil
	}
	return err
}

// writeCluster pads to whole clusters, so that the file ends on one.
func writeCluster(w io.WriterAt, cluster int64, b []byte) error {
	if pad := -len(b) & (qcowCluster - 1); pad > 0 {
		b = append(bytes.Clone(b), make([]byte, pad)...)
	}
	_, err := w.WriteAt(b, cluster*qcowCluster)
	return err
}
