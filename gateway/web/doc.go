// Package web is the landing page of the gateway: the live streams with an address for
// every way in, and how to publish.
//
//	GET /                  the page
//	GET /streams.json      what changes on it, for its refresh
//	GET /culvert.css, /culvert.js, /culvert.svg
//
// Anything else is a short 404. The page is complete without scripts and then reloads
// itself; the script adds copy buttons and a refresh in place. Nothing is fetched from
// elsewhere, and the Content-Security-Policy allows nothing that is not in this package.
//
// Addresses use the host name the browser asked for, so they work from where the
// visitor is. Stream names come from publishers and are treated as hostile: escaped by
// html/template, quoted for the shell in commands, and names with control characters
// get no address at all.
//
// The package decides nothing about who may watch: the caller lists only streams that
// everyone may see.
package web
