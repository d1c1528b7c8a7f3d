# Quality against what a sequence keeps in a replaced layer, from table.tsv in the present directory.
set terminal svg size 860,520 font "DejaVu Sans,13" background "white"
set output "kinds.svg"
set encoding utf8
set datafile separator "\t"
set datafile missing "-"
set border 3 lw 1 lc rgb "#555555"
set tics nomirror out scale 0.5 textcolor rgb "#222222"
set grid ytics lt 1 lw 0.8 lc rgb "#DDDDDD"
set logscale x 2
set offsets graph 0.06, graph 0.22, graph 0.08, graph 0.04
set format x "%.0f"
set xlabel "bytes that a sequence keeps in a replaced layer"
set ylabel "held-out reverse KL, mean over the layers"
set key outside top left horizontal
# Columns: kind, state bytes, before, after the numbers of steps …
head = system("head -n 1 table.tsv")
first = 3
last = words(system("head -n 1 table.tsv | tr '\\t' '\\n' | grep -c after | xargs seq -s ' ' 1")) + 3
names = system("head -n 1 table.tsv | tr ' ' '_'")
array colour[4] = [0xCCCCCC, 0x0072B2, 0xD55E00, 0x009E73]
plot for [i = first:last] "table.tsv" every ::1 using 2:i with points pt 7 ps 0.9 lc rgb colour[i - 2] title word(names, i), \
     "table.tsv" every ::1 using 2:last:1 with labels left offset 0.9, 0 font ",11" notitle
