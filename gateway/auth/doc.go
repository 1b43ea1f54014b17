// Package auth decides who may publish and who may play. It knows requests and
// rules, no connections and no configuration files.
package auth
