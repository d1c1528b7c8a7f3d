# Losses of a distillation's steps above, what was measured on held-out rows below. Data: two blocks for
# each run: step, mean loss, lowest, highest; step, value, 0 for reverse KL or 1 for KL.

set xrange [0:last_step]
set grid lt 1 lw 0.7 lc rgb "#DDDDDD"
set xtics font small
set tmargin at screen y(top + 26)
set bmargin at screen y(top + panel_height)
@ticks1
set yrange [low1:high1]
set ytics font small
set label 40 "training loss (nats)" at screen x(left), screen y(top + 14) left font small textcolor rgb "#222222"
plot for [i = 1:series] data index 2 * (i - 1) using 1:3:4 with filledcurves fillstyle solid noborder lc rgb lighter(colour[i], 0.25), \
     for [i = 1:series] data index 2 * (i - 1) using 1:2 with lines lw 1.5 lc rgb colour[i]
do for [k = 1:40] { unset label k }
top = top + panel_height + gap
set tmargin at screen y(top + 6)
set bmargin at screen y(top + panel_height)
@ticks2
set yrange [low2:high2]
set ytics font small
set label 41 "held out (nats)" at screen x(left), screen y(top - 6) left font small textcolor rgb "#222222"
set label 42 "step" at screen x(right), screen y(top + panel_height + 40) right font small textcolor rgb "#222222"
plot for [i = 1:series] data index 2 * i - 1 using 1:(column(3) == 0 ? column(2) : NaN) with linespoints pt mark[i] ps 0.7 * mark_width(i) lw 1.5 lc rgb colour[i], \
     for [i = 1:series] data index 2 * i - 1 using 1:(column(3) == 1 ? column(2) : NaN) with lines dt 2 lw 1.2 lc rgb colour[i]
unset multiplot
