package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"software.sslmate.com/src/go-pkcs12"
)

// oldCA is the authority of another server.
type oldCA struct {
	testing.TB

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (c *oldCA) sign(name string, serial int64, usage ...x509.ExtKeyUsage) (*x509.Certificate, *ecdsa.PrivateKey) {
	c.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name, Organization: []string{"TAK"}}, ExtKeyUsage: usage,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	parent, signer := c.cert, c.key
	if parent == nil {
		parent, signer = tmpl, key
		tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	} else if len(usage) > 1 {
		tmpl.DNSNames = []string{"localhost"}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		c.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.Fatal(err)
	}
	return cert, key
}

func newOldCA(t testing.TB, name string) *oldCA {
	t.Helper()
	c := &oldCA{TB: t}
	c.cert, c.key = c.sign(name, 1)
	return c
}

func pemOf(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

func (c *oldCA) client(name string, serial int64) tls.Certificate {
	cert, key := c.sign(name, serial, x509.ExtKeyUsageClientAuth)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// files writes the authority and the server's certificate.
func (c *oldCA) files(dir, p12 string) {
	c.Helper()
	cert, key := c.sign("takserver", 2, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
	der, err := pkcs12.LegacyDES.Encode(key, cert, []*x509.Certificate{c.cert}, "atakatak")
	if err != nil {
		c.Fatal(err)
	}
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().AddDate(1, 0, 0),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(77), RevocationTime: time.Now()}},
	}, c.cert, c.key)
	if err != nil {
		c.Fatal(err)
	}
	write(c, dir, map[string]string{"ca.pem": pemOf(c.cert), "ca.crl": string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list})), p12: string(der)})
}

func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// trusting connects as a phone does that trusts the old authority alone.
func (w *world) trusting(c *oldCA, cert tls.Certificate) (*tls.Conn, error) {
	pool := x509.NewCertPool()
	pool.AddCert(c.cert)
	return tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", w.srv.Status().Listeners["tls"], &tls.Config{RootCAs: pool, ServerName: "localhost", Certificates: []tls.Certificate{cert}})
}

// turnedAway tells why a phone that trusts the old authority is not let in; nil when it is.
func (w *world) turnedAway(c *oldCA, cert tls.Certificate) error {
	conn, err := w.trusting(c, cert)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	_, err = conn.Read(make([]byte, 1)) // the offer to speak protobuf
	return err
}

const coreXML = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Configuration xmlns="http://bbn.com/marti/xml/config">
  <network multicastTTL="5" serverId="x" version="5.2" enterpriseSyncSizeLimitMB="600">
    <input _name="stdssl" protocol="tls" port="8089" auth="x509" coreVersion="2"/>
    <input _name="drones" protocol="udp" port="8087"><filtergroup>Drones</filtergroup></input>
    <input _name="mc" protocol="mcast" port="6969" group="239.2.3.1"/>
    <connector port="9443" clientAuth="true" _name="https"/>
    <connector port="8446" clientAuth="false" _name="cert_https"/>
  </network>
  <auth><ldap url="ldap://x" userstring="y"/><File location="UserAuthenticationFile.xml"/></auth>
  <filter><thumbnail enable="true"/><flowtag enable="false"/></filter>
  <security><tls keystore="JKS" keystoreFile="certs/files/takserver.jks" keystorePass="atakatak"/></security>
  <federation><federate id="a" name="partner"/></federation>
</Configuration>`

func TestImportOfficial(t *testing.T) {
	t.Parallel()
	ca, stranger := newOldCA(t, "old root"), newOldCA(t, "federate root")
	hash, err := bcrypt.GenerateFromPassword([]byte("anna's old password"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	old := t.TempDir()
	ca.files(filepath.Join(old, "certs/files"), "takserver.p12")
	write(t, old, map[string]string{
		"CoreConfig.xml": coreXML, "certs/files/fed.pem": pemOf(stranger.cert), "certs/files/takserver.jks": "java",
		"conf/retention/retention-policy.yml": "dataRetentionMap: {cot: null}\n",
		"UserAuthenticationFile.xml": `<?xml version="1.0"?><UserAuthenticationFile xmlns="http://bbn.com/marti/xml/bindings">
			<User identifier="anna" password="` + string(hash) + `" passwordHashed="true" role="ROLE_ADMIN"><groupList>Blue</groupList></User>
			<User identifier="ben" fingerprint="AA:BB"><groupListIN>Red</groupListIN><groupListOUT>Blue</groupListOUT></User>
			<User identifier="../etc" password="x" passwordHashed="false"/>
			<User identifier="admin" password="x" passwordHashed="false"/></UserAuthenticationFile>`,
	})
	w := &world{T: t, data: filepath.Join(t.TempDir(), "d"), log: &syncBuffer{}}
	w.fill()
	dry := w.takd("import", "official", old, "--dry-run")
	for _, want := range []string{"nothing was changed", "2 users", "anna (admin), ben (user)", "authority", "old root", "1 revoked", "server certificate", "messaging.inputs", "conf/retention/retention-policy.yml"} {
		if !strings.Contains(dry, want) {
			t.Errorf("dry run lacks %q:\n%s", want, dry)
		}
	}
	_, left, _ := strings.Cut(dry, "Does not, and why:")
	for _, want := range []string{"../etc", "user admin", "input mc", "federate root", "filter thumbnail", "LDAP", "partner", ".jks", "PostgreSQL"} {
		if !strings.Contains(left, want) {
			t.Errorf("dry run does not say that %q stays:\n%s", want, left)
		}
	}
	if strings.Contains(left, "flowtag") || strings.Contains(w.takd("user", "list"), "anna") {
		t.Errorf("dry run: %s", left)
	}
	w.takd("import", "official", old)
	if again := w.takd("import", "official", old, "--dry-run"); !strings.Contains(again, "user anna") {
		t.Errorf("a second time: %s", again)
	}
	if got := w.takd("config", "get", "messaging.inputs"); !strings.Contains(got, "drones") || !strings.Contains(got, "Drones") {
		t.Errorf("inputs: %s", got)
	}
	if got := w.takd("config", "get", "files.max_upload") + w.takd("config", "get", "api.address"); !strings.Contains(got, "600MiB") || !strings.Contains(got, "9443") {
		t.Errorf("settings: %s", got)
	}
	w.takd("config", "set", `messaging.inputs=[{name: tls, protocol: tls, address: "127.0.0.1:0"}]`)
	w.run()
	t.Cleanup(w.stop)

	// Phones that trust nothing but the old server.
	conn, err := w.trusting(ca, ca.client("ben", 5))
	if err != nil {
		t.Fatalf("ben connects with his old certificate: %v", err)
	}
	w.bind("ben", conn)
	b := w.browser(ca.client("anna", 6))
	b.want(200, "GET", "https", "/Marti/api/version", "", "")
	b.want(200, "GET", "https", "/user-management/api/list-users", "", "")
	if _, text := w.browser().call("POST", "enroll", "/oauth/token", "", "grant_type=password&username=anna&password=anna's old password"); !strings.Contains(text, "access_token") {
		t.Errorf("login with the old password: %s", text)
	}
	if err := w.turnedAway(ca, ca.client("ben", 78)); err != nil {
		t.Errorf("a good one: %v", err)
	}
	if err := w.turnedAway(ca, ca.client("ben", 77)); err == nil {
		t.Error("a certificate that was revoked there is taken here")
	}
	if err := w.turnedAway(ca, stranger.client("ben", 5)); err == nil {
		t.Error("a client of a federated server's authority is taken")
	}
	// Who comes new trusts the certificate that the server shows.
	dir := t.TempDir()
	w.takd("cert", "issue", "new", "--ecdsa", "--out", dir)
	text, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil || !strings.Contains(string(text), pemOf(ca.cert)) {
		t.Errorf("ca.pem lacks the old authority: %v", err)
	}
}

func TestImportOTS(t *testing.T) {
	t.Parallel()
	ca := newOldCA(t, "OpenTAKServer-CA")
	old := t.TempDir()
	ca.files(filepath.Join(old, "ca"), "certs/opentakserver/opentakserver.p12")
	sum := sha256.Sum256([]byte("a package"))
	hash := hex.EncodeToString(sum[:])
	write(t, old, map[string]string{"config.yml": "OTS_CA_PASSWORD: atakatak\nOTS_SSL_STREAMING_PORT: 8089\n", "uploads/" + hash + ".zip": "a package", "uploads/" + strings.Repeat("a", 64) + ".zip": "another"})
	db, err := sql.Open("sqlite", filepath.Join(old, "ots.db"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), `CREATE TABLE user (id INTEGER PRIMARY KEY, username VARCHAR, password VARCHAR, active BOOLEAN);
		CREATE TABLE role (id INTEGER PRIMARY KEY, name VARCHAR); CREATE TABLE roles_users (user_id INTEGER, role_id INTEGER);
		CREATE TABLE groups (id INTEGER PRIMARY KEY, name VARCHAR); CREATE TABLE groups_users (user_id INTEGER, group_id INTEGER, direction VARCHAR, enabled BOOLEAN);
		CREATE TABLE data_packages (id INTEGER PRIMARY KEY, filename VARCHAR, hash VARCHAR, creator_uid VARCHAR, submission_time DATETIME, submission_user INTEGER, keywords VARCHAR, mime_type VARCHAR, tool VARCHAR);
		INSERT INTO user VALUES (1, 'administrator', '$argon2id$x', 1), (2, 'anna', '$argon2id$x', 1), (3, 'gone', '', 0);
		INSERT INTO role VALUES (1, 'administrator'), (2, 'user'); INSERT INTO roles_users VALUES (1, 1), (2, 2);
		INSERT INTO groups VALUES (1, 'Blue'); INSERT INTO groups_users VALUES (2, 1, 'IN', 1), (2, 1, 'OUT', 1);
		INSERT INTO data_packages VALUES (1, 'photo.zip', '`+hash+`', 'U', '2026-05-01 10:00:00.000000', 2, 'missionpackage', 'application/zip', 'public'),
			(2, 'other.zip', '`+strings.Repeat("a", 64)+`', 'U', NULL, NULL, NULL, NULL, NULL), (3, 'evil', '../../../etc/passwd', 'U', NULL, NULL, NULL, NULL, NULL);`)
	if err != nil || db.Close() != nil {
		t.Fatal(err)
	}
	w := start(t)
	said := w.takd("import", "ots", old)
	for _, want := range []string{"3 users", "2 passwords", "other.zip", "evil", "1 files"} {
		if !strings.Contains(said, want) {
			t.Errorf("import lacks %q:\n%s", want, said)
		}
	}
	conn, err := w.trusting(ca, ca.client("anna", 12345))
	if err != nil {
		t.Fatalf("anna connects with her old certificate: %v", err)
	}
	w.bind("anna", conn)
	anna := w.browser(ca.client("anna", 12345))
	if got := anna.want(200, "GET", "https", "/Marti/sync/content?hash="+hash, "", ""); got != "a package" {
		t.Errorf("her package: %q", got)
	}
	if err := w.turnedAway(ca, ca.client("gone", 12346)); err == nil {
		t.Error("who was disabled there is let in here")
	}
	if out, code := w.try("import", "ots", "postgresql://x/y"); code != 1 || !strings.Contains(out, "no driver for PostgreSQL") {
		t.Errorf("PostgreSQL: %d %s", code, out)
	}
	if out, code := w.try("import", "ots", t.TempDir()); code != 1 || !strings.Contains(out, "nothing to import") {
		t.Errorf("an empty folder: %d %s", code, out)
	}
	if out, code := w.try("import", "official", t.TempDir()); code != 1 || !strings.Contains(out, "nothing to import") {
		t.Errorf("an empty folder: %d %s", code, out)
	}
	laughs := t.TempDir()
	write(t, laughs, map[string]string{"CoreConfig.xml": `<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><Configuration><network version="&b;"/></Configuration>`})
	if out, code := w.try("import", "official", laughs); code != 1 {
		t.Errorf("a document with entities: %d %s", code, out)
	}
}
