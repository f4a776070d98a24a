package admin

import (
	"takd/http/httpd"
	"takd/store/injector"
)

const injectorKind = "com.bbn.marti.config.InjectorConfig"

func (a *api) injectors() []httpd.Route {
	const at = "/Marti/api/injectors/cot/uid"
	return on("Operation",
		httpd.Route{Method: "GET", Path: at, Summary: "Elements that the server adds to the detail of events, by uid.", Handler: a.listInjectors},
		httpd.Route{Method: "GET", Path: at + "/{uid}", Summary: "Those of one uid.", Handler: a.listInjectors},
		httpd.Route{Method: "POST", Path: at, Summary: `Add one: {"uid":"U","toInject":"<x/>"}. Events of that uid, and all that its client sends, get it.`, MaxBody: 64 << 10, Handler: a.addInjector},
		httpd.Route{Method: "DELETE", Path: at, Summary: "Delete one.", Query: []string{"uid", "toInject"}, Handler: a.deleteInjector},
	)
}

func (a *api) listInjectors(r *httpd.Request) error {
	all, err := a.Injectors.List(r.Context())
	if err != nil {
		return err
	}
	uid, some := r.Param("uid"), []injector.Injector{}
	for _, i := range all {
		if uid == "" || i.UID == uid {
			some = append(some, i)
		}
	}
	return r.Envelope(injectorKind, some)
}

func (a *api) addInjector(r *httpd.Request) error {
	var i injector.Injector
	if err := r.ReadJSON(&i); err != nil {
		return err
	}
	if err := a.Injectors.Add(r.Context(), i); err != nil {
		return refusal(err)
	}
	a.Audit.By(r, "injector add", i.UID+" "+i.Fragment)
	return a.listInjectors(r)
}

func (a *api) deleteInjector(r *httpd.Request) error {
	i := injector.Injector{UID: string(r.QueryArgs().Peek("uid")), Fragment: string(r.QueryArgs().Peek("toInject"))}
	if i.UID == "" || i.Fragment == "" {
		return httpd.Bad("uid and toInject: want both")
	}
	if err := a.Injectors.Delete(r.Context(), i); err != nil {
		return err
	}
	a.Audit.By(r, "injector delete", i.UID+" "+i.Fragment)
	return a.listInjectors(r)
}
