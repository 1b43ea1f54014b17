package rtmpcore

// ViaProperty is the property of the connect command's object in which a gateway that
// relays a stream names the gateways that it came through.
const ViaProperty = "culvertVia"

// Via names the gateways that a stream was relayed through, the client last, separated
// by commas: how a gateway notices that it relays to itself. It is "" for all other
// clients.
func (r *ConnectRequest) Via() string {
	via, _ := r.Object.String(ViaProperty)
	return via
}
