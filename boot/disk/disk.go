package disk

import "errors"

var ErrNone = errors.New("no configuration disk")

type Volume struct{}

func (v *Volume) Save(string) (string, error) { return "", nil }
func Find(devices []string) (*Volume, error)  { return nil, ErrNone }
