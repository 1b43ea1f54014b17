package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"culvert/configs"
	"culvert/gateway"
)

// trustSteps tell how a system is made to trust the authority in culvert-ca.pem.
const trustSteps = `Save it as culvert-ca.pem on the client:  culvert ca root > culvert-ca.pem

  Debian, Ubuntu     sudo cp culvert-ca.pem /usr/local/share/ca-certificates/culvert.crt && sudo update-ca-certificates
  Fedora, RHEL       sudo cp culvert-ca.pem /etc/pki/ca-trust/source/anchors/ && sudo update-ca-trust
  Alpine             cp culvert-ca.pem /usr/local/share/ca-certificates/culvert.crt && update-ca-certificates
  Arch               sudo trust anchor culvert-ca.pem
  macOS              sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain culvert-ca.pem
  Windows            certutil -addstore Root culvert-ca.pem        (as administrator)
  Android, iOS       send the file to the device and open it; on iOS then switch it on under Settings, General, About,
                     Certificate Trust Settings. Apps may still refuse authorities that a user added.
  Firefox            Settings, Privacy & Security, Certificates, View Certificates, Authorities, Import
  ffmpeg             -tls_verify 1 -ca_file culvert-ca.pem
  culvert            culvert play --ca culvert-ca.pem rtmps://HOST/live/NAME
  OBS                uses the authorities of the system (start it again after installing)
`

func caCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "the gateway's own certificate authority",
	}
	cmd.AddCommand(caRootCommand())
	return cmd
}

func caRootCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "root",
		Short: "print the certificate of the gateway's own authority, for clients to trust",
		Long: `Print the certificate (PEM) of the authority that signs the internal certificates of this gateway, from its storage or
from the running gateway. The running gateway also has it at http://127.0.0.1:2935/ca.pem (the admin listener).

` + trustSteps,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load(configs.LoadOptions{Path: path})
			if err != nil {
				return err
			}
			pem, err := rootPEM(cmd, cfg)
			if err != nil {
				return err
			}
			if _, err := cmd.OutOrStdout().Write(pem); err != nil {
				return err
			}
			if isatty.IsTerminal(os.Stdout.Fd()) {
				fmt.Fprint(cmd.ErrOrStderr(), "\n"+trustSteps)
			}
			return nil
		},
	}
	configFlag(cmd, &path)
	return cmd
}

// rootPEM asks the running gateway, which may have an authority in memory, else reads the storage.
func rootPEM(cmd *cobra.Command, cfg configs.Config) ([]byte, error) {
	pem, askErr := askAdmin(cmd.Context(), cfg.Listen.Admin, "/ca.pem")
	if askErr == nil {
		return pem, nil
	}
	path := filepath.Join(gateway.Storage(cfg.TLS), "ca.pem")
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("there is no authority yet, it is made when the gateway first starts with tls.mode internal or acme: %w; and %w", err, askErr)
	}
	return pem, nil
}
