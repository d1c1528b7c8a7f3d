# The look of all charts, and title and key. `apriel-tool chart` writes its settings before this text
# and the drawing itself behind it, so that the script it leaves beside the picture is complete: edit
# it and run gnuplot on it again.

set encoding utf8
set border 3 lw 1 lc rgb "#555555"
set tics nomirror out scale 0.5 textcolor rgb "#222222"
unset key

# Okabe and Ito's colours, which colour-blind readers can tell apart, and a mark for each.
array colour[8] = [0x0072B2, 0xD55E00, 0x009E73, 0xCC79A7, 0xE69F00, 0x000000, 0x56B4E9, 0x882255]
array mark[8] = [7, 5, 9, 13, 11, 6, 4, 8]
array mark_size[8] = [0.75, 0.7, 0.85, 0.9, 0.85, 0.8, 0.75, 0.9]
mark_width(i) = mark_scale * mark_size[i]

# A lighter colour, mixed with white rather than transparent: every viewer draws it.
channel(c, shift) = (c >> shift) & 255
lighter(c, t) = 65536 * mix(255, channel(c, 16), t) + 256 * mix(255, channel(c, 8), t) + mix(255, channel(c, 0), t)
mix(a, b, t) = int(a + (b - a) * t + 0.5)

# Stages run from dark to light.
ramp(t) = t < 0.5 ? 65536 * mix(37, 65, 2 * t) + 256 * mix(52, 182, 2 * t) + mix(148, 196, 2 * t) \
                  : 65536 * mix(65, 237, 2 * t - 1) + 256 * mix(182, 248, 2 * t - 1) + mix(196, 177, 2 * t - 1)
stage_at(s) = (s - 1.0) / (stages > 4 ? stages - 1 : 4)
stage_colour(s) = s < 0 ? 0x888888 : s == 0 ? 0xFFFFFF : ramp(stage_at(s))
stage_ink(s) = s < 1 ? 0x999999 : stage_at(s) < 0.45 ? 0xFFFFFF : 0x222222

# Geometry, in pixels from the left and the top; one panel under another.
left = 92
right = width - 24
x(p) = p / (1.0 * width)
y(p) = 1 - p / (1.0 * height)
top = 56 + 21 * series
# So many layers that their numbers have to stand upright.
dense = exists("layers") && layers >= 100
tiny = sprintf("%s,%d", font, font_size - 4)
small = sprintf("%s,%d", font, font_size - 3)
large = sprintf("%s,%d", font, font_size + 3)
row_head = "right font small textcolor rgb \"#222222\""

set multiplot
set lmargin at screen x(left)
set rmargin at screen x(right)

# Title and key, above the first panel.
set label 1 title at screen x(left), screen y(24) left font large
set label 2 subtitle at screen x(left), screen y(46) left font small textcolor rgb "#555555"
do for [i = 1:series] {
    set label 10 + i label[i] at screen x(left + 22), screen y(47 + 21 * i) left
    set label 20 + i "" at screen x(left + 9), screen y(47 + 21 * i) \
        point pt mark[i] ps 1.2 * mark_width(i) lc rgb colour[i]
}

