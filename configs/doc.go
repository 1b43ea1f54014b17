// Package configs holds the configuration of the gateway: its types, its built-in values, how it is loaded and how it is checked.
//
// [Load] puts a configuration together from four places, each overriding the one before:
//
//	built-in values < file < CULVERT_* environment < flags
//
// The file is YAML; culvert.yaml in this folder describes every key, is embedded in the binary and equals [Default]. Units stand in the value:
// sizes are written 64KiB, durations 10s. Everything that is wrong (unknown keys, values that cannot be read, values that make no sense together)
// is reported at once, one line per problem, each with its place and its key path:
//
//	culvert.yaml:12:5: apps.live.publish.keyz: unknown key, did you mean "keys"?
//	CULVERT_LIMITS_MESSAGE: limits.message: "8 apples" is not a size: write a number and a unit, such as 64KiB or 4MiB
//
// # Apps
//
// apps maps an application name to its settings. "*" is the application of every name that has no entry of its own. A file that has an apps
// section replaces the built-in one as a whole: only what it lists exists, so an operator who names two apps serves two apps, and "*" exists only
// when it is listed. A key that an entry leaves out has the built-in value, not the value of "*".
//
// # Environment
//
// Every key has a variable: CULVERT_ and the key path in upper case, joined by underscores. limits.tunnel.hold is CULVERT_LIMITS_TUNNEL_HOLD.
// Lists are comma-separated. In an app's name every character outside [A-Za-z0-9] becomes an underscore, and "*" is DEFAULT:
// CULVERT_APPS_DEFAULT_PUBLISH_KEYS. The environment changes apps, it does not create them. A CULVERT_* variable that is no key is an error;
// those that Kubernetes makes for a service called culvert are left alone.
//
// # Secrets
//
// A [Secret] is the text itself, or ${NAME} for the content of an environment variable, or file:PATH for the content of a file. Once loaded it
// never shows in a log, an error or a dump. An [Address] of a stream on another server is one too, because it may hold a key; in it ${NAME} may
// stand anywhere.
//
// # Example
//
//	cfg, err := configs.Load(configs.LoadOptions{Path: path, Environ: os.Environ()})
//	if err != nil {
//		return err // one line per problem
//	}
//	app, ok := cfg.App("live")
//
// Only cmd and gateway import this package; the libraries below take small Config structs of their own.
package configs
