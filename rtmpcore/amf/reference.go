package amf

// reference is an entry of the table that references index: one per value that
// may be referred to, in the order in which they begin. AMF0 enters objects and
// arrays (§2.9), AMF3 everything but numbers, booleans, null, undefined and
// strings (§2.2).
type reference struct {
	value  any
	closed bool
	props  int // what the value counts against the limits
	bytes  int
	levels int // of containers in it, itself included
}

// opened is what close needs to know of the state at open.
type opened struct {
	index, at, level, props, bytes, around int
}

// open enters the container that begins at offset at into the reference table.
// level counts it and the containers around it.
func (d *decoder) open(at, level int) (opened, error) {
	if level > d.limits.Depth {
		return opened{}, &LimitError{Offset: at, What: LimitDepth, Max: d.limits.Depth}
	}

	o := opened{index: len(d.refs), at: at, level: level, props: d.props, bytes: d.bytes, around: d.deepest}
	d.refs = append(d.refs, reference{})
	d.deepest = level

	return o, nil
}

// close makes the value that was read since open one that can be referred to.
func (d *decoder) close(o opened, v any) {
	d.refs[o.index] = reference{
		value:  v,
		closed: true,
		props:  d.props - o.props,
		bytes:  d.pos - o.at + d.bytes - o.bytes,
		levels: d.deepest - o.level + 1,
	}
	d.deepest = max(d.deepest, o.around)
}

// leaf enters a value without values in it, which began at offset at.
func (d *decoder) leaf(at int, v any) any {
	d.refs = append(d.refs, reference{value: v, closed: true, bytes: d.pos - at})

	return v
}

// repeat resolves the reference at offset at, which has depth containers around
// it, and charges for a copy of its target, because whoever writes the values out
// again writes one.
func (d *decoder) repeat(index, at, depth int) (any, error) {
	if index >= len(d.refs) || !d.refs[index].closed {
		return nil, &SyntaxError{Offset: at, Err: ErrReference}
	}

	target := d.refs[index]

	level := depth + target.levels
	if level > d.limits.Depth {
		return nil, &LimitError{Offset: at, What: LimitDepth, Max: d.limits.Depth}
	}

	if err := d.charge(target.bytes, at); err != nil {
		return nil, err
	}

	if err := d.count(target.props); err != nil {
		return nil, err
	}

	d.deepest = max(d.deepest, level)

	return target.value, nil
}

// charge counts n bytes that the reference at offset at repeats.
func (d *decoder) charge(n, at int) error {
	if n > d.limits.Bytes-d.bytes {
		return &LimitError{Offset: at, What: LimitBytes, Max: d.limits.Bytes}
	}

	d.bytes += n

	return nil
}
