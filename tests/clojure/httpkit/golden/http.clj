(ns httpkit.golden.http
  "Bytes that a server sent, cut into HTTP/1 answers: what the data calls
  `responses`, `frames` and `trailing`."
  (:require [clojure.string :as str]
            [httpkit.golden.bytes :as bytes]
            [httpkit.golden.frame :as frame])
  (:import [java.io ByteArrayOutputStream]
           [java.util Arrays]))

(set! *warn-on-reflection* true)

(defn index-of
  "Index of `needle` (bytes) in `bs` at or after `from`, or nil."
  [^bytes bs ^bytes needle from]
  (let [n (alength needle)
        last-start (- (alength bs) n)]
    (loop [i (long from)]
      (when (<= i last-start)
        (if (loop [j 0]
              (or (= j n)
                  (and (= (aget bs (+ i j)) (aget needle j)) (recur (inc j)))))
          i
          (recur (inc i)))))))

(def ^:private crlf (bytes/latin1 "\r\n"))
(def ^:private head-end (bytes/latin1 "\r\n\r\n"))

(defn- slice ^bytes [^bytes bs from to]
  (Arrays/copyOfRange bs (int from) (int to)))

(defn header-lines
  "Lines `Name: value` as `[name value]`, blanks around the value cut, or nil
  when a line is no header."
  [lines]
  (let [pairs (map #(next (re-matches #"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*" %)) lines)]
    (when (every? some? pairs) (mapv vec pairs))))

(defn- parse-head
  "`{:status :headers}` of head text, or nil when it is no HTTP/1 answer."
  [^String head]
  (let [[status-line & lines] (str/split head #"\r\n")
        [_ status] (re-matches #"HTTP/1\.[01] (\d{3})(?: .*)?" (str status-line))
        pairs (header-lines lines)]
    (when (and status pairs)
      {:status (Long/parseLong status)
       :headers (reduce (fn [m [k v]] (update m (.toLowerCase ^String k java.util.Locale/ROOT) (fnil conj []) v))
                        {} pairs)})))

(defn read-chunks
  "Chunked body of `bs` from `pos`: `{:body :end :complete}`; `:end` is the
  index after the last byte that belongs to it."
  [^bytes bs pos]
  (let [out (ByteArrayOutputStream.)
        done (fn [end complete] {:body (.toByteArray out) :end end :complete complete})]
    (loop [pos (long pos)]
      (let [line-end (index-of bs crlf pos)
            size (when line-end
                   (second (re-matches #"([0-9a-fA-F]{1,8})(?:;.*)?"
                                       (bytes/text (slice bs pos line-end)))))]
        (if-not size
          (done (if line-end pos (alength bs)) false)
          (let [size (Long/parseLong size 16)
                from (+ 2 (long line-end))
                to (+ from size)]
            (cond
              (zero? size) (if-let [end (if (index-of (slice bs from (min (alength bs) (+ from 2))) crlf 0)
                                          (+ from 2)
                                          (some-> (index-of bs head-end from) (+ 4)))]
                             (done end true)
                             (done (alength bs) false))
              (> (+ to 2) (alength bs)) (do (.write out bs (int from) (int (max 0 (- (min to (alength bs)) from))))
                                            (done (alength bs) false))
              (not= to (index-of (slice bs 0 (+ to 2)) crlf to)) (done to false)
              :else (do (.write out bs (int from) (int size))
                        (recur (+ to 2))))))))))

(defn- read-body
  "Body of an answer with a body, beginning at `pos`: `[outcome-keys end]`."
  [^bytes bs pos headers]
  (let [[length] (get headers "content-length")
        rest-length (- (alength bs) (long pos))]
    (cond
      (some #(re-find #"(?i)(^|,)\s*chunked\s*$" %) (get headers "transfer-encoding"))
      (let [{:keys [body end complete]} (read-chunks bs pos)]
        [{"body" (bytes/shorten body) "framing" "chunked" "complete" complete} end])

      (and length (re-matches #"\d{1,18}" length))
      (let [length (Long/parseLong length)
            got (min length rest-length)]
        [(cond-> {"body" (bytes/shorten (slice bs pos (+ (long pos) got)))}
           (< got length) (assoc "complete" false))
         (+ (long pos) got)])

      :else
      [{"body" (bytes/shorten (slice bs pos (alength bs))) "framing" "close"} (alength bs)])))

(defn- read-answer
  "One answer of `bs` from `pos`: `[answer end]`, or nil when there is none."
  [^bytes bs pos head?]
  (when-let [end (index-of bs head-end pos)]
    (when-let [{:keys [status headers]} (parse-head (bytes/text (slice bs pos end)))]
      (let [body-at (+ 4 (long end))
            answer {"status" status "headers" headers}]
        (cond
          (< status 200) [answer body-at]
          (or head? (= status 204) (= status 304)) [(assoc answer "body" "") body-at]
          :else (let [[body end] (read-body bs body-at headers)]
                  [(merge answer body) end]))))))

(defn parse
  "All answers in `bs`. `head`: true, or a list of booleans, one per final
  answer, for answers to HEAD. Gives `\"responses\"`, `\"frames\"` when a 101
  came, `\"trailing\"` when bytes are left that are no HTTP message."
  [^bytes bs head]
  (loop [pos 0, answers []]
    (let [finals (count (remove #(< (long (get % "status")) 200) answers))
          head? (if (vector? head) (boolean (get head finals)) (boolean head))
          [answer end] (when (< pos (alength bs)) (read-answer bs pos head?))]
      (cond
        (nil? answer)
        (cond-> {"responses" answers}
          (< pos (alength bs)) (assoc "trailing" (bytes/shorten (slice bs pos (alength bs)))))

        (= 101 (get answer "status"))
        {"responses" (conj answers answer)
         "frames" (frame/parse (slice bs end (alength bs)))}

        :else (recur (long end) (conj answers answer))))))
