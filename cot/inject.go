package cot

import "fmt"

// AppendInjected appends the event as XML, as AppendXML does with a nil Splice,
// with elements at the end of its detail. They must be well-formed. It allocates.
func (ev *Event) AppendInjected(dst []byte, elements string) ([]byte, error) {
	xml, err := ev.AppendXML(nil, nil)
	if err != nil {
		return dst, err
	}
	var plain Event
	if _, err := Scan(xml, &plain); err != nil {
		return dst, fmt.Errorf("inject: %w", err)
	}
	switch at := &plain.at; {
	case plain.HasDetail && at.emptyTag == 0:
		dst = append(append(append(dst, xml[:at.inner.to]...), elements...), xml[at.inner.to:]...)
	case plain.HasDetail:
		dst = append(append(append(dst, xml[:at.emptyTag]...), '>'), elements...)
		dst = append(append(dst, "</detail>"...), xml[at.detail.to:]...)
	default:
		dst = append(append(append(dst, xml[:at.endTag]...), "<detail>"...), elements...)
		dst = append(append(dst, "</detail>"...), xml[at.endTag:]...)
	}
	return dst, nil
}
