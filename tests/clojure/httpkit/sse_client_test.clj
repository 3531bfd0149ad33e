(ns httpkit.sse-client-test
  "Server-sent events, as the client receives them."
  (:require [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.wire       :as wire]
            [org.httpkit.client :as client]
            [org.httpkit.server :as server]
            [org.httpkit.sse    :as sse])
  (:import (java.io ByteArrayInputStream ByteArrayOutputStream Closeable IOException PrintStream)
           (java.util Random)
           (java.util.concurrent LinkedBlockingQueue TimeUnit)))

(set! *warn-on-reflection* true)

(defn- parsed
  "[event data id] of the events of a text, whatever pieces it arrives in."
  [text]
  (let [bytes  (if (string? text) (.getBytes ^String text "UTF-8") text)
        events (fn [n] (reduce #(conj %1 ((juxt :event :data :id) %2)) [] (sse/events (wire/in-pieces bytes n))))
        whole  (events 8192)]
    (doseq [n [1 2 3 7]]
      (is (= whole (events n)) (str "in pieces of " n)))
    whole))

(deftest events-are-parsed-as-the-standard-says
  (doseq [[text expected]
          {"data: a\n\n"                                [["message" "a" ""]]
           "data:a\r\rdata:  b\r\n\r\n"                 [["message" "a" ""] ["message" " b" ""]]
           "\ufeffdata: bom\n\n"                        [["message" "bom" ""]]
           "data: a\n\ufeffdata: b\n\n"                 [["message" "a" ""]]
           "data: 1\ndata\ndata:\ndata: 4\n\n"          [["message" "1\n\n\n4" ""]]
           "event: e\ndata: x\n\ndata: y\n\n"           [["e" "x" ""] ["message" "y" ""]]
           "event: e\n\ndata: x\n\n"                    [["message" "x" ""]]
           "id: 1\ndata: x\n\ndata: y\n\nid\ndata: z\n\n" [["message" "x" "1"] ["message" "y" "1"] ["message" "z" ""]]
           "id: a\u0000b\ndata: x\n\n"                  [["message" "x" ""]]
           "id: 1\n\nid: 2\n"                           []
           "data: cut off\n"                            []
           "data: cut off"                              []
           ": comment\n\n:\n\ndata: x\n:y\n\n"          [["message" "x" ""]]
           "dat: x\nDATA: y\ndata : z\n\n"              []
           "data\n\n"                                   [["message" "" ""]]
           "data: é 😀 \u2028 \u0085\n\n"               [["message" "é 😀 \u2028 \u0085" ""]]
           "\n\n\r\r\n"                                 []
           ""                                           []}]
    (is (= expected (parsed text)) (pr-str text)))
  (is (= [["message" "a\ufffdb" ""]] (parsed (byte-array (map unchecked-byte (concat (.getBytes "data: a") [0xff] (.getBytes "b\n\n"))))))))

(deftest what-the-server-encodes-the-client-parses
  (let [random (Random. 42)
        piece  #(rand-nth ["a" ":" " " "data" "é" "😀" "\n" "\r" "\r\n" ""])
        text   (fn [n] (str/join (repeatedly (.nextInt random n) piece)))
        encode @#'sse/encode]
    (dotimes [_ 300]
      (let [data  (text 12)
            event (str/replace (text 5) #"[\r\n]" "-")
            bytes (encode {:event event :data data :id 5 :comment (text 5)})]
        (is (= [[(if (= "" event) "message" event) (str/replace data #"\r\n|\r" "\n") "5"]]
               (parsed bytes)))))))

(deftest retry-counts-only-as-a-number
  (let [retry (fn [text] (:retry (reduce (fn [_ event] event) nil (sse/events (wire/in-pieces (.getBytes ^String text) 8192)))))]
    (is (= 25 (retry "retry: 25\ndata: x\n\n")))
    (is (nil? (retry "retry: 25 \ndata: x\n\n")))
    (is (nil? (retry "retry: -1\ndata: x\n\n")))
    (is (= 100 (retry "retry: 0000000000100\ndata: x\n\n")))
    (is (= 0 (retry "retry: 000000000000\ndata: x\n\n")))
    (is (= Integer/MAX_VALUE (retry "retry: 99999999999999999999\ndata: x\n\n")))))

(deftest an-event-without-an-end-is-refused
  (doseq [endless ["data: xxxxxxxxxxxxxxxxxxxx" (str/join (repeat 10 "data: xxxx\n"))]]
    (is (thrown-with-msg? IOException #"more than 15 bytes"
                          (reduce conj [] (sse/events (ByteArrayInputStream. (.getBytes ^String endless)) 15)))))
  (testing "whose bytes count, not its chars"
    (let [data (fn [bom] (str bom "data: ééé\ndata: ééé\n\n"))
          read (fn [^String text most] (reduce conj [] (sse/events (ByteArrayInputStream. (.getBytes text "UTF-8")) most)))]
      (is (= ["ééé\nééé"] (map :data (read (data "") 14)) (map :data (read (data "\ufeff") 15))))
      (is (thrown-with-msg? IOException #"more than 13 bytes" (read (data "") 13))))))

(deftest events-of-what-is-no-stream-are-refused
  (is (thrown-with-msg? IllegalArgumentException #"class java.lang.String.*:as :stream$" (sse/events {:body "text"})))
  (is (thrown-with-msg? IllegalArgumentException #":as :stream; deref the request first$"
                        (sse/events (client/get "http://127.0.0.1:1" {:as :stream}))))
  (is (thrown-with-msg? IllegalArgumentException #"of nil.*:as :stream" (sse/events {:body nil})))
  (let [failed @(client/get "http://127.0.0.1:1/" {:as :stream})
        thrown (try (sse/events failed) (catch IllegalArgumentException e e))]
    (is (str/includes? (ex-message thrown) "Connection refused"))
    (is (identical? (:error failed) (ex-cause thrown)))))

(defn- stream-handler
  "Streams whose channels go into `opened`, with the request's last id. The client delivers a response when the first
  byte of its body is there: the `:retry`."
  [^LinkedBlockingQueue opened options]
  (fn [req]
    (sse/stream req (assoc options :on-open (fn [s] (.put opened [s (sse/last-event-id req)]))))))

(defn- poll [^LinkedBlockingQueue queue]
  (.poll queue wire/patience-ms TimeUnit/MILLISECONDS))

(deftest events-of-a-response-are-reduced-while-they-arrive-plain-and-compressed
  (doseq [compression [false true]]
    (let [opened (LinkedBlockingQueue.)]
      (wire/with-server [{:keys [port]} (stream-handler opened {:retry 20}) {:compression compression}]
        (let [response @(client/get (str "http://127.0.0.1:" port "/")
                                    {:as :stream :headers {"Accept-Encoding" "gzip"}})
              [s]      (poll opened)]
          (with-open [^Closeable events (sse/events response)]
            (doseq [i (range 20)]
              (sse/send! s {:id i :data (str "event " i)})
              (is (= {:event "message" :data (str "event " i) :id (str i) :retry 20}
                     (reduce (fn [_ event] (reduced event)) nil events))))
            (sse/close s)
            (is (= :end (reduce (fn [_ event] event) :end events)))))))))

(deftest a-connection-calls-back-and-closes-once
  (let [opened (LinkedBlockingQueue.)
        heard  (LinkedBlockingQueue.)]
    (wire/with-server [{:keys [port]} (stream-handler opened {:retry 20}) {}]
      (let [url      (str "http://127.0.0.1:" port "/")
            listen   #(sse/connect url {:method :post :body "question" :headers {"X-Key" "1"}}
                                   {:on-open  (fn [{:keys [status]}] (.put heard [:open status]))
                                    :on-event (fn [{:keys [data]}]
                                                (.put heard data)
                                                (when (= "fail" data) (throw (IllegalStateException. "callback"))))
                                    :on-error (fn [t] (.put heard (ex-message t)))
                                    :on-close (fn [] (.put heard :closed))})]
        (testing "by the server"
          (with-open [_ ^Closeable (listen)]
            (let [[s] (poll opened)]
              (doseq [data ["a" "fail" "b"]] (sse/send! s {:data data}))
              (sse/close s)
              (is (= [[:open 200] "a" "fail" "callback" "b" :closed] (repeatedly 6 #(poll heard)))))))
        (testing "by the client"
          (let [source ^Closeable (listen)
                [s]    (poll opened)]
            (is (= [:open 200] (poll heard)))
            (.close source)
            (.close source)
            (is (= :closed (poll heard)))
            (is (wire/eventually #(not (server/open? s))))))
        (is (nil? (.poll heard 50 TimeUnit/MILLISECONDS)))))))

(deftest a-response-that-is-no-stream-is-an-error-and-a-204-is-none
  (wire/with-server [{:keys [port]} (fn [{:keys [uri]}]
                                      (case uri
                                        "/html" {:status 200 :headers {"Content-Type" "text/html"} :body "x"}
                                        "/500"  {:status 500 :headers {"Content-Type" "text/event-stream"} :body "data: x\n\n"}
                                        {:status 204}))
                     {}]
    (doseq [[path expected] {"/html" [::sse/no-stream 200] "/500" [::sse/no-stream 500] "/204" nil}]
      (let [errors (atom [])
            closed (promise)]
        (sse/connect (str "http://127.0.0.1:" port path) {:reconnect? true}
                     {:on-error #(swap! errors conj ((juxt :type (comp :status :response)) (ex-data %)))
                      :on-close #(deliver closed true)})
        (is (deref closed wire/patience-ms false))
        (is (= (if expected [expected] []) @errors))))))

(deftest an-error-about-a-response-that-is-no-stream-has-no-credentials
  (let [err    System/err
        text   (ByteArrayOutputStream.)
        closed (promise)]
    (wire/with-server [{:keys [port]} (fn [_] {:status 401}) {}]
      (System/setErr (PrintStream. text true))
      (try
        (sse/connect (str "http://u:hush@127.0.0.1:" port "/events?key=hush")
                     {:basic-auth ["u" "hush"] :headers {"X-Key" "hush"}}
                     {:on-close #(deliver closed true)})
        (is (deref closed wire/patience-ms false))
        (finally (System/setErr err)))
      (is (str/includes? (str text) (str "GET http://127.0.0.1:" port "/events: status 401 with type nil")))
      (is (not (str/includes? (str text) "hush"))))))

(deftest after-a-restart-of-the-server-no-event-is-lost
  (doseq [compression [false true]]
    (let [log     (atom [])
          heard   (LinkedBlockingQueue.)
          streams (atom #{})
          handler (fn [req]
                    (sse/stream req
                      {:retry    20
                       :on-open  (fn [s]
                                   (locking log
                                     (let [seen (Long/parseLong (or (sse/last-event-id req) "-1"))]
                                       (doseq [id (range (inc seen) (count @log))]
                                         (sse/send! s {:id id :data (@log id)}))
                                       (swap! streams conj s))))
                       :on-close (fn [s _] (swap! streams disj s))}))
          publish (fn [text]
                    (locking log
                      (swap! log conj text)
                      (sse/broadcast! @streams {:id (dec (count @log)) :data text})))
          start   #(wire/start handler {:port % :compression compression})
          first-server (start 0)
          port    (:port first-server)
          source  ^Closeable (sse/connect (str "http://127.0.0.1:" port "/")
                                          {:reconnect? true :headers {"Accept-Encoding" "gzip"}}
                                          {:on-event #(.put heard (:data %))
                                           :on-error (fn [_])})]
      (try
        (dotimes [i 10] (publish (str "before " i)))
        (is (= (for [i (range 10)] (str "before " i)) (repeatedly 10 #(poll heard))))
        (wire/stop first-server)
        (dotimes [i 10] (publish (str "meanwhile " i)))
        (let [second-server (wire/eventually #(try (start port) (catch java.net.BindException _ nil)))]
          (try
            (is (= (for [i (range 10)] (str "meanwhile " i)) (repeatedly 10 #(poll heard))))
            (dotimes [i 10] (publish (str "after " i)))
            (is (= (for [i (range 10)] (str "after " i)) (repeatedly 10 #(poll heard))))
            (finally (wire/stop second-server))))
        (finally (.close source))))))

(defn- scripted
  "A handler whose nth response is the nth of `texts`, then 204. Requests' headers go into `seen`."
  [seen texts]
  (let [left (atom texts)]
    (fn [{:keys [headers]}]
      (swap! seen conj headers)
      (let [[[text]] (swap-vals! left rest)]
        (if text
          {:status 200 :headers {"Content-Type" "text/event-stream"} :body text}
          {:status 204})))))

(defn- headers-of-requests
  "What the requests of a client say that reconnects through these responses, until a 204."
  [opts & texts]
  (let [seen (atom []), closed (promise)]
    (wire/with-server [{:keys [port]} (scripted seen texts) {}]
      (sse/connect (str "http://127.0.0.1:" port "/") (assoc opts :reconnect? true)
                   {:on-error (fn [_]) :on-close #(deliver closed true)})
      (is (deref closed wire/patience-ms false))
      @seen)))

(deftest a-later-request-sends-the-last-id-if-it-can-be-sent
  (let [ids (fn [& texts] (map #(get % "last-event-id") (apply headers-of-requests {} texts)))]
    (is (= [nil "a" "a" "b"] (ids "retry: 1\nid: a\ndata: x\n\n" "data: y\n\n" "id: b\ndata: z\n\n")))
    (is (= [nil "a" nil] (ids "retry: 1\nid: a\ndata: x\n\n" "id:\ndata: y\n\n")) "the server takes it back")
    (is (= [nil nil] (ids "retry: 1\nid: a\u0001\ndata: x\n\n")) "no header can have it")))

(deftest an-event-without-an-id-has-the-last-one-of-earlier-connections
  (let [ids (fn [headers & texts]
              (let [heard (atom []), closed (promise)]
                (wire/with-server [{:keys [port]} (scripted (atom []) texts) {}]
                  (sse/connect (str "http://127.0.0.1:" port "/") {:headers headers :reconnect? true}
                               {:on-event #(swap! heard conj (:id %)) :on-close #(deliver closed true)})
                  (is (deref closed wire/patience-ms false))
                  @heard)))]
    (is (= ["7" "7" "8"] (ids {} "retry: 1\nid: 7\ndata: x\n\n" "data: y\n\n" "id: 8\ndata: z\n\n")))
    (is (= ["7" "" ""] (ids {} "retry: 1\nid: 7\ndata: x\n\n" "id\ndata: y\n\n" "data: z\n\n")))
    (is (= ["a\u0001" "a\u0001"] (ids {} "retry: 1\nid: a\u0001\ndata: x\n\n" "data: y\n\n")) "one that no header can have")
    (is (= ["42" "43"] (ids {"Last-Event-Id" 42} "retry: 1\ndata: x\n\n" "id: 43\ndata: y\n\n")))))

(deftest an-id-that-the-server-takes-back-is-not-followed-by-the-callers-first-one
  (is (= ["42" "7" nil nil]
         (map #(get % "last-event-id")
              (headers-of-requests {:headers {"Last-Event-ID" "42"}}
                                   "retry: 1\nid: 7\ndata: x\n\n" "id\ndata: y\n\n" "data: z\n\n")))))

(deftest the-callers-own-last-id-is-sent-as-it-is-until-the-stream-gives-one
  (testing "so a wrong one is named"
    (let [seen (atom []), errors (atom []), closed (promise)]
      (wire/with-server [{:keys [port]} (scripted seen ["data: x\n\n"]) {}]
        (sse/connect (str "http://127.0.0.1:" port "/") {:headers {"Last-Event-ID" "a\nb"}}
                     {:on-error #(swap! errors conj (ex-message %)) :on-close #(deliver closed true)})
        (is (deref closed wire/patience-ms false))
        (is (= 1 (count @errors)))
        (is (str/includes? (str (first @errors)) "Invalid character in HTTP header value"))
        (is (empty? @seen)))))
  (testing "and several are all sent"
    (is (= ["1,2" "1,2" "7" nil]
           (map #(get % "last-event-id")
                (headers-of-requests {:headers {"Last-Event-ID" ["1" "2"]}}
                                     "retry: 1\ndata: x\n\n" "id: 7\ndata: y\n\n" "id\ndata: z\n\n"))))))

(deftest options-for-a-single-result-leave-a-connection-as-it-is
  (testing "it reads each stream"
    (let [given (promise), heard (atom []), closed (promise)]
      (wire/with-server [{:keys [port]} (scripted (atom []) ["retry: 1\ndata: a\n\n" "data: b\n\n"]) {}]
        (sse/connect (str "http://127.0.0.1:" port "/") {:response given :reconnect? true}
                     {:on-event #(swap! heard conj (:data %)) :on-close #(deliver closed true)})
        (is (deref closed wire/patience-ms false))
        (is (= ["a" "b"] @heard))
        (is (not (realized? given))))))
  (testing "it can be closed"
    (let [opened (LinkedBlockingQueue.), closed (promise)]
      (wire/with-server [{:keys [port]} (stream-handler opened {:retry 20}) {}]
        (let [source ^Closeable (sse/connect (str "http://127.0.0.1:" port "/") {:deadlock-guard? false}
                                             {:on-close #(deliver closed true)})]
          (is (poll opened))
          (.close source)
          (is (deref closed wire/patience-ms false)))))))

(defn- life-with-body
  "Bodies of the requests of a client that reconnects, and what it calls back."
  [handler opts]
  (let [bodies (atom []), calls (atom []), closed (promise)]
    (wire/with-server [{:keys [port]} (fn [{:keys [body] :as req}]
                                        (swap! bodies conj (slurp body))
                                        (handler req))
                       {}]
      (sse/connect (str "http://127.0.0.1:" port "/") (assoc opts :method :post :reconnect? true)
                   {:on-event (fn [{:keys [data]}] (swap! calls conj data))
                    :on-error (fn [t] (swap! calls conj t))
                    :on-close #(deliver closed true)})
      (is (deref closed wire/patience-ms false))
      [@bodies @calls])))

(deftest a-body-that-can-be-read-once-is-sent-once
  (let [stream (fn [] (scripted (atom []) ["retry: 1\ndata: a\n\n" "data: b\n\n"]))
        bytes  #(.getBytes "question")
        file   (doto (java.io.File/createTempFile "body" ".txt") (.deleteOnExit) (spit "question"))]
    (doseq [body ["question" (bytes) file ["quest" "ion"]]]
      (is (= [["question" "question" "question"] ["a" "b"]] (life-with-body (stream) {:body body}))))
    (testing "unless it is replaced"
      (is (= [(repeat 3 "q=question") ["a" "b"]]
             (life-with-body (stream) {:body (ByteArrayInputStream. (bytes)) :form-params {:q "question"}}))))
    (doseq [opts [{:body (ByteArrayInputStream. (bytes))}
                  {:body (ByteArrayInputStream. (bytes)) :chunked? true}
                  {:body (java.nio.ByteBuffer/wrap (bytes))}
                  {:body (java.io.FileInputStream. file)}
                  {:multipart [{:name "a" :content "b"} {:name "q" :content (ByteArrayInputStream. (bytes))}]}]]
      (let [[[body & more] [event error & others]] (life-with-body (stream) opts)]
        (is (str/includes? body "question"))
        (is (= ["a" nil nil] [event more others]))
        (is (instance? IOException error))
        (is (str/includes? (str error) "Cannot replay one-shot request body")))))
  (testing "and an error before is the only one"
    (let [[bodies [error & others]] (life-with-body (fn [_] {:status 500}) {:body (ByteArrayInputStream. (.getBytes "q"))})]
      (is (= [["q"] ::sse/no-stream nil] [bodies (:type (ex-data error)) others])))
    (let [heard (LinkedBlockingQueue.)]
      (sse/connect "http://127.0.0.1:1/" {:method :post :body (ByteArrayInputStream. (.getBytes "q")) :reconnect? true}
                   {:on-error #(.put heard (class %)) :on-close #(.put heard :closed)})
      (is (= [java.net.ConnectException :closed] (repeatedly 2 #(poll heard)))))))

(deftest a-retry-of-0-does-not-make-a-loop-without-pause
  (let [from (System/nanoTime)]
    (is (= 5 (count (apply headers-of-requests {} (repeat 4 "retry: 0\ndata: x\n\n")))))
    (is (< 290 (/ (- (System/nanoTime) from) 1e6)))))

(deftest the-callers-own-choices-hold
  (is (= ["application/json, text/event-stream" "text/event-stream"]
         (for [headers [{"Accept" "application/json, text/event-stream"} {}]]
           (get-in (headers-of-requests {:headers headers}) [0 "accept"]))))
  (let [own (client/make-client {})]
    (try
      (binding [client/*default-client* own]
        (headers-of-requests {} "retry: 1\ndata: x\n\n"))
      (is (= 2 (:requests (client/client-stats own))))
      (finally (client/client-stop! own)))))

(deftest wrong-sizes-of-events-are-named
  (doseq [size ["8" 0 -1 1.5]]
    (is (thrown-with-msg? IllegalArgumentException #":max-event-bytes .*: expected an integer from 1"
                          (sse/connect "http://127.0.0.1:1" {:max-event-bytes size} {})))
    (is (thrown-with-msg? IllegalArgumentException #":max-event-bytes" (sse/events (ByteArrayInputStream. (byte-array 0)) size)))))

(deftest wrong-headers-are-named
  (doseq [[headers shown] {5 "5", "a: b" "\"a: b\"", :k ":k", [1] "of class clojure.lang.PersistentVector"}]
    (let [error (promise)]
      (sse/connect "http://127.0.0.1:1" {:headers headers} {:on-error #(deliver error %)})
      (is (= [ClassCastException (str ":headers " shown ": expected a map from Strings to values, or nil")]
             ((juxt class ex-message) (deref error wire/patience-ms nil)))))))

(deftest misspelt-options-are-one-warning-each
  (let [err     System/err
        text    (ByteArrayOutputStream.)
        connect (fn [opts]
                  (let [ended (promise)]
                    (sse/connect "http://127.0.0.1:1" opts {:on-error (fn [_]) :on-close #(deliver ended true)})
                    (is (true? (deref ended wire/patience-ms :late)))))]
    (System/setErr (PrintStream. text true))
    (try
      (dotimes [_ 2]
        (connect {:reconect? false :max-event-byte 5 :idle-timeuot 100 :timeout 100 :event 1 "reconnect" 1}))
      (finally (System/setErr err)))
    (is (= [":idle-timeuot is no option of request; did you mean :idle-timeout?"
            ":max-event-byte is no option of sse/connect; did you mean :max-event-bytes?"
            ":reconect? is no option of sse/connect; did you mean :reconnect??"]
           (sort (map second (re-seq #"WARN - (.*)" (str text))))))))

(deftest options-that-are-no-map-are-named
  (doseq [[opts shown] [[[1] "of class clojure.lang.PersistentVector"] [5 "5"] ["x" "\"x\""]]]
    (is (thrown-with-msg? IllegalArgumentException
                          (re-pattern (str "options " shown " of sse/connect: expected a map"))
                          (sse/connect "http://127.0.0.1:1" opts {:on-error (fn [_])})))))

(deftest wrong-callbacks-are-named
  (is (thrown-with-msg? IllegalArgumentException #":on-event 5" (sse/connect "http://127.0.0.1:1" {} {:on-event 5})))
  (is (thrown-with-msg? IllegalArgumentException #"did you mean :on-event" (sse/connect "http://127.0.0.1:1" {} {:on-evnt vector}))))
