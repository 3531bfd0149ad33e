(ns httpkit.golden.bytes
  "Bytes values of the golden data: strings of U+0000-U+00FF, lists,
  `repeat`, `drip` and pauses; and their short form in outcomes."
  (:import [java.io ByteArrayOutputStream OutputStream]
           [java.nio.charset StandardCharsets]
           [java.util.zip CRC32]))

(set! *warn-on-reflection* true)

(defn latin1
  "The bytes of `s`, each character one byte. Throws for a character above U+00FF."
  ^bytes [^String s]
  (when (some #(> (int %) 255) s)
    (throw (ex-info "character above U+00FF in a bytes value" {:type ::not-bytes :value s})))
  (.getBytes s StandardCharsets/ISO_8859_1))

(defn text
  "`bs` as a string, each byte one character."
  [^bytes bs]
  (String. bs StandardCharsets/ISO_8859_1))

(declare to-bytes)

(defn writes
  "The bytes value `b` as a lazy seq of what a sender does in order:
  `[:write bytes]` and `[:pause ms]`."
  [b]
  (cond
    (string? b) [[:write (latin1 b)]]
    (vector? b) (mapcat writes b)
    (and (map? b) (= 1 (count b)))
    (let [[k v] (first b)]
      (case k
        "repeat" [[:write (to-bytes b)]]
        "drip" (let [[bs ms] v]
                 (mapcat (fn [x] [[:write (byte-array [x])] [:pause ms]]) (to-bytes bs)))
        "pause_ms" [[:pause v]]
        (throw (ex-info "unknown bytes value" {:type ::unknown :value b}))))
    :else (throw (ex-info "unknown bytes value" {:type ::unknown :value b}))))

(defn- repeated ^bytes [b n]
  (let [one (to-bytes b)
        out (ByteArrayOutputStream. (* (alength ^bytes one) (int n)))]
    (dotimes [_ n] (.write out ^bytes one 0 (alength ^bytes one)))
    (.toByteArray out)))

(defn to-bytes
  "All bytes of the bytes value `b`, pauses left out."
  ^bytes [b]
  (if (and (map? b) (contains? b "repeat"))
    (let [[inner n] (get b "repeat")] (repeated inner n))
    (let [out (ByteArrayOutputStream.)]
      (doseq [[what ^bytes bs] (writes b) :when (= what :write)]
        (.write out bs 0 (alength bs)))
      (.toByteArray out))))

(defn write!
  "Writes the bytes value `b`, one flush per piece, sleeping where it says so."
  [^OutputStream out b]
  (doseq [[what x] (writes b)]
    (case what
      :write (doto out (.write ^bytes x) (.flush))
      :pause (Thread/sleep (long x)))))

(def ^:private shown "Longest bytes or text given literally in an outcome." 600)

(defn shorten
  "Bytes as they stand in outcomes: a string, or length and CRC-32 when longer than 600."
  [^bytes bs]
  (if (<= (alength bs) (long shown))
    (text bs)
    {"len" (alength bs)
     "crc32" (.getValue (doto (CRC32.) (.update bs)))}))

(defn shorten-text
  "Text as it stands in outcomes: itself, or its length when longer than 600."
  [^String s]
  (if (<= (count s) (long shown)) s {"len" (count s)}))
