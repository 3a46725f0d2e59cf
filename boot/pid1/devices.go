package pid1

// BlockDevices are the disks and partitions of the machine as they are now.
func BlockDevices() []string { return blockDevices("/sys") }
