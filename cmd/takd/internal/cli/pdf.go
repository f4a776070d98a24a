package cli

import (
	"bytes"
	"fmt"

	"codeberg.org/go-pdf/fpdf"
	"golang.org/x/image/font/gofont/gomono"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/sfnt"

	"takd/http/enroll"
)

// Measures of a page, in mm.
const (
	pdfMargin = 15.0
	pdfCode   = 70.0 // a side of a QR code
	pdfGap    = 20.0 // between two of them
)

// sheetPDF is the sheet of writeSheet as a PDF: a page of A4 for each person. Its
// fonts have Latin, Greek and Cyrillic letters.
func sheetPDF(all []enroll.Invitation) ([]byte, error) {
	letters, err := sfnt.Parse(goregular.TTF)
	if err != nil {
		return nil, err
	}
	p := fpdf.New("P", "mm", "A4", "")
	p.SetTitle("Invitations", true)
	p.SetMargins(pdfMargin, pdfMargin, pdfMargin)
	p.AddUTF8FontFromBytes("text", "", goregular.TTF)
	p.AddUTF8FontFromBytes("mono", "", gomono.TTF)
	for i, v := range all {
		for _, r := range v.User {
			if g, err := letters.GlyphIndex(nil, r); err != nil || g == 0 {
				return nil, fmt.Errorf("user %s: the letter %q is not in the font of the PDF; use --sheet FILE.html", v.User, r)
			}
		}
		pdfPage(p, i, v)
	}
	var b bytes.Buffer
	if err := p.Output(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func pdfPage(p *fpdf.Fpdf, n int, v enroll.Invitation) {
	p.AddPage()
	p.SetFont("text", "", 24)
	p.MultiCell(0, 11, v.User, "", "L", false)
	top := p.GetY() + 6
	for i, code := range []struct {
		name, says string
		png        []byte
	}{
		{"atak", "ATAK: scan this.", v.ATAKPNG},
		{"itak", "iTAK: scan this to add the server, then enter user and token.", v.ITAKPNG},
	} {
		x, name := pdfMargin+float64(i)*(pdfCode+pdfGap), fmt.Sprintf("%s-%d", code.name, n)
		p.RegisterImageOptionsReader(name, fpdf.ImageOptions{ImageType: "PNG"}, bytes.NewReader(code.png))
		p.ImageOptions(name, x, top, pdfCode, pdfCode, false, fpdf.ImageOptions{}, 0, "")
		p.SetXY(x, top+pdfCode+2)
		p.SetFont("text", "", 11)
		p.MultiCell(pdfCode, 5, code.says, "", "L", false)
	}
	p.SetXY(pdfMargin, top+pdfCode+18)
	for _, line := range [][2]string{{"User", v.User}, {"Token", v.Token}, {"Or in a browser", v.Package}} {
		p.SetFont("text", "", 11)
		p.CellFormat(0, 6, line[0], "", 1, "L", false, 0, "")
		p.SetFont("mono", "", 12)
		p.MultiCell(0, 6, line[1], "", "L", false)
		p.Ln(3)
	}
	p.SetFont("text", "", 11)
	p.MultiCell(0, 6, fmt.Sprintf("Good for %d device(s) until %s. Keep it to yourself.", v.MaxUses, v.Expires.Local().Format(minute)), "", "L", false)
}
