package amf

import "fmt"

// traits are what objects of one class have in common.
type traits struct {
	class          string
	sealed         []string
	dynamic        bool
	externalizable bool
}

// object3 reads an object of which the number behind its marker, without the
// lowest bit, is n:
//
//	index of traits << 1 | 0
//	...             << 2 | 11             externalizable: class name, value
//	sealed names    << 3 | dynamic << 2 | 01   class name, names, properties
func (d *decoder) object3(n uint32, level int) (any, error) {
	t, err := d.traitsOf(n)
	if err != nil {
		return nil, err
	}

	if t.externalizable {
		if err := d.count(1); err != nil {
			return nil, err
		}

		v, err := d.value3(level)

		return asAny(Externalizable{Class: t.class, Value: v}, err)
	}

	pairs := Object{}

	for _, key := range t.sealed {
		if pairs, err = d.property(pairs, key, level); err != nil {
			return nil, err
		}
	}

	if t.dynamic {
		if pairs, err = d.dynamic(pairs, level); err != nil {
			return nil, err
		}
	}

	if t.class == "" && t.dynamic && len(t.sealed) == 0 {
		return pairs, nil
	}

	return TypedObject{Class: t.class, Object: pairs, Sealed: len(t.sealed), Dynamic: t.dynamic}, nil
}

// traitsOf reads or looks up the traits of the object that object3 describes.
func (d *decoder) traitsOf(n uint32) (traits, error) {
	at := d.pos

	if n&1 == 0 {
		index := int(n >> 1)
		if index >= len(d.traits) {
			return traits{}, &SyntaxError{Offset: at, Err: ErrReference}
		}

		t := d.traits[index]

		repeated := len(t.class)
		for _, key := range t.sealed {
			repeated += len(key)
		}

		return t, d.charge(repeated, at)
	}

	class, err := d.string3()
	if err != nil {
		return traits{}, err
	}

	t := traits{class: class, externalizable: n&2 != 0}

	switch {
	case t.externalizable && !externalizable(class):
		return traits{}, &SyntaxError{Offset: at, Err: fmt.Errorf("%w %.100q", ErrExternalizable, class)}
	case !t.externalizable:
		t.dynamic = n&4 != 0

		if t.sealed, err = d.names(n >> 3); err != nil {
			return traits{}, err
		}
	}

	d.traits = append(d.traits, t)

	return t, nil
}

// names reads the names of sealed properties. Each comes with a value, so that
// count has to fit in the limits as well.
func (d *decoder) names(count uint32) ([]string, error) {
	if err := d.promise(count, 2); err != nil {
		return nil, err
	}

	var names []string

	for range count {
		key, err := d.string3()
		if err != nil {
			return nil, err
		}

		names = append(names, key)
	}

	return names, nil
}

// dynamic appends the properties up to and including the empty key that ends them.
func (d *decoder) dynamic(pairs Object, level int) (Object, error) {
	for {
		key, err := d.string3()
		if err != nil {
			return nil, err
		}

		if key == "" {
			return pairs, nil
		}

		if pairs, err = d.property(pairs, key, level); err != nil {
			return nil, err
		}
	}
}

func (d *decoder) property(pairs Object, key string, level int) (Object, error) {
	if err := d.count(1); err != nil {
		return nil, err
	}

	v, err := d.value3(level)
	if err != nil {
		return nil, err
	}

	return append(pairs, Pair{Key: key, Value: v}), nil
}
