(ns httpkit.channel-first-test
  "The first send on a channel while its body is slow: what waits for it, and what does not."
  (:require [clojure.test :refer [deftest is testing]]
            [httpkit.channel-wire :as wire]
            [org.httpkit.server :as server])
  (:import (java.io ByteArrayInputStream InputStream SequenceInputStream)
           (java.util.concurrent Executors)))

(set! *warn-on-reflection* true)

(defn- slow-seq [begun gate]
  (lazy-seq (deliver begun true) (wire/outcome gate) ["first"]))

(defn- slow-stream ^InputStream [begun gate]
  (let [wait (proxy [InputStream] []
               (read ([] (deliver begun true) (wire/outcome gate) -1)
                     ([_] (deliver begun true) (wire/outcome gate) -1)
                     ([_ _ _] (deliver begun true) (wire/outcome gate) -1)))]
    (SequenceInputStream. wait (ByteArrayInputStream. (.getBytes "first")))))

(def ^:private slow-bodies
  {"a lazy seq"     slow-seq
   "an InputStream" slow-stream})

(defn- data [kind begun gate]
  {:headers {"X-Kind" kind} :body ((slow-bodies kind) begun gate)})

(defn- sending
  "Calls `(f {:ch :sent :gate :conn :closings})` while a thread sends first, a body that ends once `gate` is delivered.
  `sent` is what it returns."
  [kind close? f]
  (let [begun    (promise)
        gate     (promise)
        sent     (promise)
        channel  (promise)
        closings (atom [])]
    (wire/with-server [{:keys [port errors]}
                       (fn [req]
                         (server/as-channel req
                           {:on-open  (fn [ch]
                                        (deliver channel ch)
                                        (deliver sent (future (server/send! ch (data kind begun gate) close?))))
                            :on-close (fn [_ status] (swap! closings conj status))}))
                       {}]
      (let [conn (wire/connect port)]
        (try
          (wire/write! conn (wire/get-request "/"))
          (is (true? (wire/outcome begun)))
          (f {:ch (wire/outcome channel) :sent (wire/outcome sent) :gate gate :conn conn :closings closings})
          (finally
            (deliver gate true)
            (wire/disconnect conn))))
      (is (= [] @errors)))))

(defn- thread-of
  "{:thread :outcome} of `f`, which a thread of its own calls."
  [f]
  (let [outcome (promise)]
    {:thread (doto (Thread. #(deliver outcome (f))) (.start)) :outcome outcome}))

(defn- waits? [{:keys [^Thread thread]}]
  (wire/eventually #(#{Thread$State/WAITING Thread$State/BLOCKED} (.getState thread))))

(deftest a-close-by-another-thread-does-not-wait-for-the-body-of-the-first-send
  (doseq [kind (keys slow-bodies), close? [true false]]
    (testing (str kind ", " close?)
      (sending kind close?
        (fn [{:keys [ch sent gate conn closings]}]
          (is (true? (wire/outcome (future (server/close ch)))))
          (is (= {:status 200 :text "" :complete? true}
                 (select-keys (wire/read-answer! conn) [:status :text :complete?])))
          (is (= [:server-close] @closings))
          (is (not (server/open? ch)))
          (deliver gate true)
          (is (false? (wire/outcome sent)) "it came too late")
          (wire/write! conn (wire/get-request "/"))
          (is (= [200 kind] ((juxt :status (comp #(get % "x-kind") :headers)) (wire/read-head! conn)))
              "the connection goes on"))))))

(deftest a-handler-that-has-returned-keeps-no-thread-while-another-thread-sends-first
  (let [begun (promise), gate (promise), sent (promise)]
    (wire/with-server [{:keys [port]}
                       (fn [{:keys [uri] :as req}]
                         (if (= "/slow" uri)
                           (server/as-channel req {:on-open (fn [ch]
                                                              (future (deliver sent (server/send! ch {:body (slow-seq begun gate)})))
                                                              (wire/outcome begun))})
                           {:body "quick"}))
                       {:worker-pool (Executors/newFixedThreadPool 1)}]
      (let [[slow quick] (repeatedly 2 #(wire/connect port))]
        (try
          (wire/write! slow (wire/get-request "/slow"))
          (is (true? (wire/outcome begun)))
          (wire/write! quick (wire/get-request "/"))
          (is (= "quick" (:text (wire/read-answer! quick))))
          (is (not (realized? sent)))
          (deliver gate true)
          (is (= "first" (:text (wire/read-answer! slow))))
          (finally
            (deliver gate true)
            (run! wire/disconnect [slow quick])))))))

(deftest on-close-is-called-when-the-client-leaves-during-the-first-send
  (doseq [kind (keys slow-bodies)]
    (testing kind
      (sending kind false
        (fn [{:keys [sent gate conn closings]}]
          (wire/disconnect conn)
          (is (wire/eventually #(= [:client-close] @closings)))
          (deliver gate true)
          (is (false? (wire/outcome sent))))))))

(deftest other-sends-wait-for-the-first-and-follow-it
  (doseq [kind (keys slow-bodies)]
    (testing kind
      (sending kind false
        (fn [{:keys [ch sent gate conn]}]
          (let [second (thread-of #(server/send! ch "second" false))
                third  (thread-of #(server/send! ch {:body (list "third")} false))]
            (is (and (waits? second) (waits? third)))
            (deliver gate true)
            (is (true? (wire/outcome sent)))
            (is (= [true true] (map (comp wire/outcome :outcome) [second third])))
            (is (true? (server/close ch)))
            (let [{:keys [headers text complete?]} (wire/read-answer! conn)]
              (is (= [kind true] [(get headers "x-kind") complete?]))
              (is (contains? #{"firstsecondthird" "firstthirdsecond"} text)))))))))

(deftest a-send-that-waits-for-a-whole-response-is-refused
  (sending "a lazy seq" true
    (fn [{:keys [ch sent gate conn]}]
      (let [begun (promise)
            other (thread-of #(server/send! ch (slow-seq begun gate)))]
        (is (waits? other))
        (is (not (realized? begun)) "its body is not touched")
        (deliver gate true)
        (is (true? (wire/outcome sent)))
        (is (= "first" (:text (wire/read-answer! conn))))
        (is (false? (wire/outcome (:outcome other))))))))

(deftest a-body-may-use-the-channel-that-it-is-sent-on
  (doseq [[about act expected] [["close" server/close {:text "" :sent false}]
                                ["send"  #(server/send! % "other") {:text "other" :sent false}]
                                ["open?" server/open? {:text "first" :sent true}]]]
    (testing about
      (let [sent (promise)]
        (wire/with-server [{:keys [port errors]}
                           (fn [req]
                             (server/as-channel req
                               {:on-open (fn [ch]
                                           (deliver sent (server/send! ch (lazy-seq (act ch) ["first"]))))}))
                           {}]
          (is (= (:text expected) (:text (wire/exchange port (wire/get-request "/")))))
          (is (= (:sent expected) (wire/outcome sent)))
          (is (= [] @errors)))))))

(deftest a-body-that-fails-leaves-the-first-send-to-others
  (let [begun (promise) gate (promise) failed (promise) channel (promise)]
    (wire/with-server [{:keys [port]}
                       (fn [req]
                         (server/as-channel req
                           {:on-open (fn [ch]
                                       (deliver channel ch)
                                       (future
                                         (try (server/send! ch (lazy-seq (deliver begun true) (wire/outcome gate)
                                                                         (throw (IllegalStateException. "no body"))))
                                              (catch IllegalStateException e (deliver failed (ex-message e))))))}))
                       {}]
      (let [conn (wire/connect port)]
        (wire/write! conn (wire/get-request "/"))
        (is (true? (wire/outcome begun)))
        (let [other (thread-of #(server/send! (wire/outcome channel) "another"))]
          (is (waits? other))
          (deliver gate true)
          (is (= "no body" (wire/outcome failed)))
          (is (true? (wire/outcome (:outcome other))))
          (is (= "another" (:text (wire/read-answer! conn)))))
        (wire/disconnect conn)))))
