package message

// Status codes of a connection, RTMP 1.0 §7.2.1. Reconnect requests are those of
// E-RTMP v2.
const (
	StatusConnectSuccess          = "NetConnection.Connect.Success"
	StatusConnectRejected         = "NetConnection.Connect.Rejected"
	StatusConnectInvalidApp       = "NetConnection.Connect.InvalidApp"
	StatusConnectAppShutdown      = "NetConnection.Connect.AppShutdown"
	StatusConnectFailed           = "NetConnection.Connect.Failed"
	StatusConnectClosed           = "NetConnection.Connect.Closed"
	StatusConnectReconnectRequest = "NetConnection.Connect.ReconnectRequest"
	StatusCallFailed              = "NetConnection.Call.Failed"
)

// Status codes of publishing and recording, RTMP 1.0 §7.2.2.6 and Adobe's tables.
const (
	StatusPublishStart        = "NetStream.Publish.Start"
	StatusPublishBadName      = "NetStream.Publish.BadName"
	StatusPublishDenied       = "NetStream.Publish.Denied"
	StatusPublishUnauthorized = "NetStream.Publish.Unauthorized"
	StatusPublishIdle         = "NetStream.Publish.Idle"
	StatusUnpublishSuccess    = "NetStream.Unpublish.Success"
	StatusRecordStart         = "NetStream.Record.Start"
	StatusRecordNoAccess      = "NetStream.Record.NoAccess"
	StatusRecordStop          = "NetStream.Record.Stop"
	StatusRecordFailed        = "NetStream.Record.Failed"
)

// Status codes of playing, RTMP 1.0 §7.2.2.1 to §7.2.2.8 and Adobe's tables.
const (
	StatusPlayReset                = "NetStream.Play.Reset"
	StatusPlayStart                = "NetStream.Play.Start"
	StatusPlayStop                 = "NetStream.Play.Stop"
	StatusPlayComplete             = "NetStream.Play.Complete"
	StatusPlaySwitch               = "NetStream.Play.Switch"
	StatusPlayTransition           = "NetStream.Play.Transition"
	StatusPlayTransitionComplete   = "NetStream.Play.TransitionComplete"
	StatusPlayPublishNotify        = "NetStream.Play.PublishNotify"
	StatusPlayUnpublishNotify      = "NetStream.Play.UnpublishNotify"
	StatusPlayInsufficientBW       = "NetStream.Play.InsufficientBW"
	StatusPlayStreamNotFound       = "NetStream.Play.StreamNotFound"
	StatusPlayFailed               = "NetStream.Play.Failed"
	StatusPlayFileStructureInvalid = "NetStream.Play.FileStructureInvalid"
	StatusPlayNoSupportedTrack     = "NetStream.Play.NoSupportedTrackFound"
	StatusDataStart                = "NetStream.Data.Start"
	StatusPauseNotify              = "NetStream.Pause.Notify"
	StatusUnpauseNotify            = "NetStream.Unpause.Notify"
	StatusSeekNotify               = "NetStream.Seek.Notify"
	StatusSeekFailed               = "NetStream.Seek.Failed"
	StatusSeekInvalidTime          = "NetStream.Seek.InvalidTime"
	StatusStreamFailed             = "NetStream.Failed"
	StatusStreamInvalidArg         = "NetStream.InvalidArg"
)
