package enroll_test

import (
	"net/http"
	"testing"

	"takd/store/auth"
)

// BenchmarkEnroll is one certificate over HTTPS, on record on disk, for kept connections.
func BenchmarkEnroll(b *testing.B) {
	for name, invited := range map[string]bool{"by=password": false, "by=invitation": true} {
		b.Run(name, func(b *testing.B) {
			s := newSite(b)
			s.add(auth.NewUser{Name: "ann", Password: "ann's password"})
			c := call{method: http.MethodPost, path: signV2, user: "ann", password: "ann's password", body: csr(b, "ann"), accept: "application/xml"}
			if invited {
				c.password = s.invite(auth.NewInvite{User: "ann", Uses: auth.MaxInviteUses})
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					s.do(c)
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "enrollments/s")
		})
	}
}
